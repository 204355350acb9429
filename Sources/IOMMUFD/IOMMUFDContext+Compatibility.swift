// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

// Who uses the context as a VFIO container has no word for address spaces: there is one that it means.
extension IOMMUFDContext {
  /// The address space that VFIO's container calls on this descriptor mean; nil for none.
  ///
  /// The kernel makes one itself when the first group joins. ``IOAS/init(adopting:in:)`` uses it.
  /// - Throws: `KernelError` for `IOMMU_VFIO_IOAS`.
  /// - Source: `struct iommu_vfio_ioas`, include/uapi/linux/iommufd.h, Linux 6.2.
  public func compatibilityIOAS() throws(KernelError) -> IOMMUFDObjectID? {
    var id: UInt32 = 0
    do throws(KernelError) {
      try compatibilityCall(ABI_IOMMU_VFIO_IOAS_GET, &id)
    } catch {
      guard error.errno == .operationNotSupportedByDevice else { throw error }
      return nil
    }
    return IOMMUFDObjectID(id)
  }

  /// Lets VFIO's container calls mean this address space.
  ///
  /// It is not kept by it: when it is destroyed, they mean none.
  /// - Throws: `KernelError` for `IOMMU_VFIO_IOAS`; `EINVAL` for one of another context.
  public func setCompatibilityIOAS(_ ioas: IOAS) throws(KernelError) {
    guard ioas.context === self else {
      throw KernelError(
        operation: "IOMMU_VFIO_IOAS", errno: .invalidArgument, subject: ioas.label,
        remedy: "choose an address space of this context")
    }
    var id = ioas.id.rawValue
    try compatibilityCall(ABI_IOMMU_VFIO_IOAS_SET, &id)
  }

  /// Lets VFIO's container calls mean no address space; the one they meant stays.
  /// - Throws: `KernelError` for `IOMMU_VFIO_IOAS`.
  public func clearCompatibilityIOAS() throws(KernelError) {
    var id: UInt32 = 0
    try compatibilityCall(ABI_IOMMU_VFIO_IOAS_CLEAR, &id)
  }

  private func compatibilityCall(_ operation: UInt32, _ id: inout UInt32) throws(KernelError) {
    let fd = descriptor
    try kernelCall("IOMMU_VFIO_IOAS", on: "iommufd (fd \(fd))") {
      unsafe abi_iommu_vfio_ioas(fd, operation, &id)
    }
  }
}
