// SPDX-License-Identifier: Apache-2.0
internal import DMACore
public import IOMMUFD
public import LinuxHandles
internal import PCIBus
internal import SystemPackage

extension VFIODevice {
  /// Its number in the iommufd, where it was opened through one.
  public var iommufdID: IOMMUFDObjectID? { iommufdDevice?.id }

  /// What its IOMMU says of itself.
  /// - Throws: `KernelError` for `IOMMU_GET_HW_INFO`: `EOPNOTSUPP` without an IOMMU, and in the modes with a group.
  public borrowing func hardwareInfo() throws(KernelError) -> IOMMUHardwareInfo {
    try bound("IOMMU_GET_HW_INFO").hardwareInfo()
  }

  /// Attaches the device itself to a page table of its own address space, instead of the one that the kernel made for it.
  ///
  /// What is exposed in the address space stays where it is: each of its page tables has all of its mappings. To be
  /// attached before PASIDs are: a table with the option `pasid`.
  /// - Throws: `KernelError` for `VFIO_DEVICE_ATTACH_IOMMUFD_PT`: `EINVAL` for a table of another address space, whose
  ///   mappings are not this device's, or where table and device do not go together; `ENOENT` for a closed table;
  ///   `EOPNOTSUPP` in the modes with a group.
  public borrowing func attach(to table: HWPageTable) throws(KernelError) {
    let device = try bound("VFIO_DEVICE_ATTACH_IOMMUFD_PT")
    guard table.ioas === addressSpace || table.ioas === (addressSpace as? NoIOMMUSpace)?.ioas else {
      throw KernelError(
        operation: "VFIO_DEVICE_ATTACH_IOMMUFD_PT", errno: .invalidArgument,
        subject: "\(address), HWPT \(table.id)",
        remedy:
          "the table is of \(table.ioas.label), the device of \(addressSpace.label): open the device in that one"
      )
    }
    try device.attach(to: table)
  }

  /// Attaches the device itself to the page table that the kernel makes for its address space, as when it was opened.
  /// - Throws: `KernelError` for `VFIO_DEVICE_ATTACH_IOMMUFD_PT`: `EINVAL` while PASIDs are attached.
  public borrowing func attachToAddressSpace() throws(KernelError) {
    let device = try bound("VFIO_DEVICE_ATTACH_IOMMUFD_PT")
    guard let ioas else { return }
    try device.attach(to: ioas)
  }

  /// The IOAS behind its address space; nil in a container.
  var ioas: IOAS? { addressSpace as? IOAS ?? (addressSpace as? NoIOMMUSpace)?.ioas }

  borrowing func bound(_ operation: String) throws(KernelError) -> IOMMUFDDevice {
    guard let iommufdDevice else {
      throw KernelError(
        operation: operation, errno: .notSupported, subject: address.description,
        remedy: "the device was opened through its group (\(mode.rawValue)): page tables take --mode iommufd")
    }
    return iommufdDevice
  }
}
