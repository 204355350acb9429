// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import SystemPackage

/// A container hands out PASIDs where the kernel has `VFIO_IOMMU_PASID_REQUEST`, which no release has.
///
/// The kernel counts them to the process that asked, 1000 at most, and takes them back with the container.
extension VFIOContainer: PASIDSource {
  /// Takes a PASID.
  /// - Throws: `KernelError` for `VFIO_IOMMU_PASID_REQUEST`: `ENOTTY` where the kernel has no such request; `ENOSPC` over
  ///   the process's quota, or where none of the range is free; `EINVAL` before a group has joined.
  public func takePASID(in range: ClosedRange<PASID>) throws(KernelError) -> PASID {
    guard mode == .type1 || mode == .type1v2 else {
      throw KernelError(
        operation: "VFIO_IOMMU_PASID_REQUEST", errno: .inappropriateIOCTLForDevice, subject: label,
        remedy: "only a container with a type 1 IOMMU has PASIDs")
    }
    var result: UInt32 = 0
    let fd = descriptor
    do throws(KernelError) {
      try kernelCall(
        "VFIO_IOMMU_PASID_REQUEST", on: "\(label), \(range.lowerBound)...\(range.upperBound)"
      ) {
        unsafe abi_vfio_iommu_pasid_alloc(fd, range.lowerBound.rawValue, range.upperBound.rawValue, &result)
      }
    } catch {
      throw error.errno == .noSpace
        ? error.advising("the process has its 1000 PASIDs, or the range has none free: free some") : error
    }
    guard let pasid = PASID(result), range.contains(pasid) else {
      throw KernelError(
        operation: "VFIO_IOMMU_PASID_REQUEST", errno: .outOfRange, subject: "\(label), PASID \(result)",
        remedy: "the kernel answered a PASID that nobody asked for")
    }
    return pasid
  }

  /// Gives a PASID back.
  /// - Throws: `KernelError` for `VFIO_IOMMU_PASID_REQUEST`: `EINVAL` for one that is not this container's, or that
  ///   another process took.
  public func giveBackPASID(_ pasid: PASID) throws(KernelError) {
    let fd = descriptor
    try kernelRelease("VFIO_IOMMU_PASID_REQUEST", on: "\(label), PASID \(pasid)") {
      abi_vfio_iommu_pasid_free(fd, pasid.rawValue)
    }
  }
}
