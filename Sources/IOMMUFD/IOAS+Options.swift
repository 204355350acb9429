// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles

extension IOAS {
  /// Whether pages that lie in one become one large entry of the IOMMU's page table, as they do at first.
  ///
  /// Without, every entry is a page, and what is mapped can be unmapped in parts only by the VFIO compatibility
  /// interface, which is what it is for; else for measurements.
  /// - Throws: `KernelError` for `IOMMU_OPTION`.
  /// - Source: `struct iommu_option`, include/uapi/linux/iommufd.h, Linux 6.2.
  public func usesHugePages() throws(KernelError) -> Bool {
    try context.option(ABI_IOMMU_OPTION_HUGE_PAGES, of: id, label) != 0
  }

  /// Sets ``usesHugePages()``.
  /// - Throws: `KernelError` for `IOMMU_OPTION`, for switching it off: `EINVAL` while memory is mapped for a device,
  ///   `EADDRINUSE` while something is mapped that is not of whole pages.
  public func setUsesHugePages(_ isOn: Bool) throws(KernelError) {
    try context.setOption(ABI_IOMMU_OPTION_HUGE_PAGES, of: id, to: isOn ? 1 : 0, label)
  }
}
