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
  let windows = VFIOWindowCount()

  init(_ descriptor: consuming OwnedDescriptor, parent: any AnyObject & Sendable) {
    owned = descriptor
    self.parent = parent
  }

  var descriptor: CInt { owned.rawValue }

  /// The open group that the device was opened through; nil for one that was opened by its own node.
  var group: VFIOGroup? { parent as? VFIOGroup }

  /// Maps an area of a region at an address that lets the kernel use its largest pages: 1 GiB or 2 MiB.
  ///
  /// BARs are aligned to their length, so the area's place in its region is the rest to be left.
  func map(
    _ area: Range<UInt64>, of region: VFIORegionInfo
  ) throws(KernelError) -> MappedMemory {
    let offset = region.fileOffset + area.lowerBound
    guard let page = [1 << 30, 1 << 21].first(where: { area.count >= $0 }) else {
      return try MappedMemory.sharing(owned, offset: offset, byteCount: area.count)
    }
    return try MappedMemory.sharing(
      owned, offset: offset, byteCount: area.count, alignment: page,
      rest: Int(area.lowerBound % UInt64(page)))
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
