// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

/// One open `/dev/iommu`: the owner of everything made in it.
///
/// A process may open several; objects of one mean nothing in another. Whatever was made in a context holds
/// it, so the descriptor closes after the last of them.
/// - Source: Documentation/userspace-api/iommufd.rst, Linux 6.2.
public final class IOMMUFDContext: Sendable {
  private let owned: OwnedDescriptor
  /// What lives in it.
  let registry = ObjectRegistry()

  /// Opens the node.
  /// - Throws: `KernelError` for `open`: `ENOENT` where the kernel has no iommufd, `EACCES` without permission.
  public init(path: String = "/dev/iommu") throws(KernelError) {
    do throws(KernelError) {
      owned = try OwnedDescriptor.open(path, for: .readWrite)
    } catch {
      switch error.errno {
      case .noSuchFileOrDirectory:
        throw error.advising(
          "the kernel has no iommufd (CONFIG_IOMMUFD, Linux 6.2; modprobe iommufd); the container path "
            + "(--mode type1v2) does not need it")
      case .permissionDenied:
        throw error.advising("run as root, or give your user this node: chown $USER \(path)")
      default: throw error
      }
    }
  }

  /// Takes over a descriptor that somebody opened for this process.
  public init(adopting descriptor: consuming OwnedDescriptor) { owned = descriptor }

  /// The descriptor, for calls that hand it to the kernel.
  ///
  /// It stays this context's to close.
  public var descriptor: CInt { owned.rawValue }

  /// Maps what the kernel offers of one of its objects (``VIOMMU``).
  func map(offset: UInt64, byteCount: Int) throws(KernelError) -> MappedMemory {
    try MappedMemory.sharing(owned, offset: offset, byteCount: byteCount)
  }

  func destroy(_ id: IOMMUFDObjectID, _ kind: StaticString) throws(KernelError) {
    let fd = descriptor
    try kernelRelease("IOMMU_DESTROY", on: "\(kind) \(id)") { abi_iommu_destroy(fd, id.rawValue) }
  }
}
