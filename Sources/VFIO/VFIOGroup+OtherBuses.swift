// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles

extension VFIOGroup {
  /// Opens a device of this group that is no PCI function: a mediated device by its UUID, or one of another bus.
  /// - Parameter name: Its name on its bus, as in `/sys/kernel/iommu_groups/N/devices`.
  /// - Throws: `KernelError` for `VFIO_GROUP_GET_DEVICE_FD`: `ENODEV` where the group has no such device.
  public func openDevice(named name: String) throws(KernelError) -> OwnedDescriptor {
    try openDevice(named: name, subject: name)
  }

  /// - Parameter subject: What errors name: a name may hold a secret.
  func openDevice(named name: String, subject: String) throws(KernelError) -> OwnedDescriptor {
    let fd = descriptor
    return OwnedDescriptor(
      adopting: try kernelCall("VFIO_GROUP_GET_DEVICE_FD", on: subject) {
        unsafe name.withCString { unsafe abi_vfio_group_get_device_fd(fd, $0) }
      })
  }
}
