// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import IOMMUFD
internal import LinuxHandles

/// An open device and what it stands on; held by the device and by everything that it handed out.
///
/// The members go in this order: the device's descriptor closes (which detaches it and frees its
/// interrupts), then the group or the address space, then the container or context that these hold.
final class VFIODeviceHandle: Sendable {
  private let owned: OwnedDescriptor
  private let parent: any AnyObject & Sendable

  init(_ descriptor: consuming OwnedDescriptor, parent: any AnyObject & Sendable) {
    owned = descriptor
    self.parent = parent
  }

  var descriptor: CInt { owned.rawValue }

  func map(fileOffset: UInt64, byteCount: Int) throws(KernelError) -> MappedMemory {
    try MappedMemory.sharing(owned, offset: fileOffset, byteCount: byteCount)
  }

  /// Detaches from an IOAS; closing would do it too, but tells nothing.
  func detach() throws(KernelError) {
    var command = abi_vfio_device_detach_iommufd_pt()
    let fd = owned.rawValue
    try kernelRelease("VFIO_DEVICE_DETACH_IOMMUFD_PT") {
      unsafe abi_vfio_device_detach_iommufd_pt(fd, &command)
    }
  }
}
