// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import IOMMUFD
public import LinuxHandles

extension VFIODevice {
  /// The width of the PASIDs that the device and its IOMMU support, in bits; 0 without PASIDs.
  /// - Throws: `KernelError` for `IOMMU_GET_HW_INFO`: `EOPNOTSUPP` without an IOMMU, and in the modes with a group.
  public borrowing func pasidBits() throws(KernelError) -> Int { try bound("IOMMU_GET_HW_INFO").pasidBits() }

  /// Attaches one of the device's PASIDs to a page table: transfers with this PASID are translated by it.
  ///
  /// The device itself goes first (`attach(to:)`, a table with the option `pasid`); the PASID's table may be one of
  /// another address space of the same context. A device without the capability is refused, which the kernel does not
  /// do.
  /// - Returns: Detaches when it goes, and keeps the device open.
  /// - Throws: `KernelError` as `IOMMUFDDevice.attach(_:to:)`; `EOPNOTSUPP` in the modes with a group.
  /// - Source: `struct vfio_device_attach_iommufd_pt`, include/uapi/linux/vfio.h, Linux 6.15.
  public borrowing func attach(
    _ pasid: PASID, to table: HWPageTable
  ) throws(KernelError) -> PASIDAttachment {
    try bound("VFIO_DEVICE_ATTACH_IOMMUFD_PT").attach(pasid, to: table)
  }
}
