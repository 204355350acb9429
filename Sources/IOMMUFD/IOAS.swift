// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// An I/O address space of an iommufd.
///
/// Devices that are attached to it share its mappings.
///
/// It destroys its object when the last holder (a device that is attached, a mapping) lets go.
/// - Source: `struct iommu_ioas_alloc`, include/uapi/linux/iommufd.h, Linux 6.2.
public final class IOAS: AddressSpace {
  /// The context that it lives in.
  public let context: IOMMUFDContext
  /// Its number, for calls that attach to it.
  public let id: IOMMUFDObjectID
  /// For messages.
  public let label: String
  /// Addresses handed out.
  ///
  /// Declared after the context: parked memory goes last.
  public let reservations: IOVAReservations
  /// Whether the object goes with this value.
  private let isOwned: Bool
  private let registration: ObjectRegistration?
  private let stranded = Mutex<[MappingRoute]>([])

  /// Makes an address space without devices; all addresses are allowed until one is attached.
  /// - Throws: `KernelError` for `IOMMU_IOAS_ALLOC` or `IOMMU_IOAS_IOVA_RANGES`.
  public init(in context: IOMMUFDContext) throws(KernelError) {
    self.context = context
    var command = abi_iommu_ioas_alloc()
    let fd = context.descriptor
    try kernelCall("IOMMU_IOAS_ALLOC") { unsafe abi_iommu_ioas_alloc(fd, &command) }
    let id = IOMMUFDObjectID(command.out_ioas_id)
    self.id = id
    isOwned = true
    registration = ObjectRegistration(
      IOMMUFDObject(id: id, kind: .ioas, label: "", uses: []), in: context.registry)
    label = "IOAS \(id) (fd \(fd))"
    do throws(KernelError) {
      reservations = IOVAReservations(allowed: try Self.usableAddresses(of: id, in: context).ranges)
    } catch {
      // `deinit` does not run for an object whose making failed.
      _ = try? context.destroy(id, "IOAS")
      throw error
    }
  }

  /// Uses an address space that somebody else made in the same context, and leaves it when done.
  ///
  /// What is mapped there already is not known here: choosing an address may end in `EEXIST`.
  /// - Throws: `KernelError` for `IOMMU_IOAS_IOVA_RANGES`: `ENOENT` where the context has no such address space.
  public init(adopting id: IOMMUFDObjectID, in context: IOMMUFDContext) throws(KernelError) {
    self.context = context
    self.id = id
    isOwned = false
    // Whoever made it in this process has entered it.
    registration =
      context.registry.contains(id)
      ? nil
      : ObjectRegistration(
        IOMMUFDObject(id: id, kind: .ioas, label: "made elsewhere", uses: []), in: context.registry)
    label = "IOAS \(id) (fd \(context.descriptor))"
    reservations = IOVAReservations(allowed: try Self.usableAddresses(of: id, in: context).ranges)
  }

  /// The page size: what every IOMMU driver of Linux maps.
  public let granuleByteCount = MemoryPageSize.standard.byteCount

  /// Maps pages of this process; see ``AddressSpace``.
  /// - Throws: `KernelError` for `IOMMU_IOAS_MAP`: `ENOMEM` over the limit of locked memory, `EEXIST` for an
  ///   address that is mapped, `EADDRINUSE` for a reserved one.
  @unsafe
  public func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    let bytes = unsafe UnsafeRawBufferPointer(start: base, count: Int(range.byteCountMinusOne) + 1)
    _ = try unsafe mapBytes(bytes, at: range.start, access: access)
  }

  /// Unmaps exactly what `mapPages` mapped.
  /// - Throws: `KernelError` for `IOMMU_IOAS_UNMAP`: `ENOENT` where nothing, or only a part, is mapped.
  public func unmapPages(_ range: IOVARange) throws(KernelError) {
    try unmapBytes(range)
  }

  /// Unmaps everything; see `AddressSpace`.
  /// - Throws: `KernelError` for `IOMMU_IOAS_UNMAP`.
  public func unmapAllPages() throws(KernelError) -> UInt64? {
    try unmapBytes(IOVARange(start: IOVA(0), last: IOVA(.max)))
  }

  /// Keeps a route whose unmap failed as long as this address space lives.
  func keep(_ route: MappingRoute) { stranded.withLock { $0.append(route) } }

  deinit {
    guard isOwned else {
      // It outlives this value, and so does what could not be unmapped from it.
      reservations.leakParkedMemory()
      return
    }
    do throws(KernelError) {
      try context.destroy(id, "IOAS")
    } catch {
      reservations.leakParkedMemory()
    }
  }
}
