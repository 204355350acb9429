// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles

/// A mapping whose address in this process the kernel was told to forget, until it gets another one.
///
/// Devices go on with the same pages. As long as one lasts no group can join the container. Letting go of it leaves
/// the mapping as it is: it can still be unmapped.
/// - Source: `VFIO_DMA_UNMAP_FLAG_VADDR`, include/uapi/linux/vfio.h, Linux 5.12.
public struct SuspendedMapping: ~Copyable, Sendable {
  /// The addresses of the mapping.
  public let range: IOVARange
  private let container: VFIOContainer

  init(_ range: IOVARange, of container: VFIOContainer) {
    self.range = range
    self.container = container
  }

  /// Gives the mapping its new address in this process, and charges this process for the pages.
  /// - Parameter base: Page aligned. The very pages that are mapped already lie here: the same offset of the same
  ///   memory file. The kernel does not check that.
  /// - Throws: `KernelError` for `VFIO_IOMMU_MAP_DMA`: `EINVAL` where the mapping has an address again, `ENOMEM`
  ///   over the limit of locked memory. The mapping is then as before, and this can be tried again.
  @unsafe
  public borrowing func resume(at base: UnsafeMutableRawPointer) throws(KernelError) {
    try unsafe container.map(base, to: range, flags: ABI_VFIO_DMA_MAP_FLAG_VADDR, ", new address")
  }
}

extension VFIOContainer {
  /// Makes the kernel forget where in this process the pages of a mapping are, because they are about to move.
  ///
  /// For a program that replaces itself by a new version (`exec`), or maps a memory file anew, while devices work.
  /// - Parameter range: Exactly one mapping, of shared memory.
  /// - Throws: `KernelError` for `VFIO_IOMMU_UNMAP_DMA`: `EOPNOTSUPP` where the mode does not offer it, naming it;
  ///   `EINVAL` where it is suspended already, or no mapping; `EBUSY` beside a mediated device.
  public func suspendMapping(_ range: IOVARange) throws(KernelError) -> SuspendedMapping {
    try require(
      .updateAddress, for: "VFIO_IOMMU_UNMAP_DMA",
      mode.nodePath == "/dev/iommu"
        ? "iommufd has IOMMU_IOAS_CHANGE_PROCESS for memory files" : "it takes an IOMMU and Linux 5.12")
    try unmap(
      range, flags: ABI_VFIO_DMA_UNMAP_FLAG_VADDR, operation: "VFIO_IOMMU_UNMAP_DMA"
    ) { unsafe abi_vfio_iommu_unmap_dma($0, &$1) }
    return SuspendedMapping(range, of: self)
  }
}
