// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import DMACore
internal import DeviceRegisters
internal import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// An open device and what it stands on; held by the device and by everything that it handed out.
///
/// The members go in this order: the device's descriptor closes (which detaches it and frees its
/// interrupts), then the group or the address space and the page table, then the container or context that these hold.
final class VFIODeviceHandle: Sendable {
  /// A window's backing; the window holds the handle, not the other way round.
  private struct Window {
    weak var backing: DescriptorBacking?
  }

  private let owned: OwnedDescriptor
  private let parent: any AnyObject & Sendable
  /// The page table that the device itself is attached to, where it is one of this process.
  let attachedTable = Mutex<(any AnyObject & Sendable)?>(nil)
  /// Keeps windows and low power apart.
  let windowCount = VFIOWindowCount()
  private let windows = Mutex<[Window]>([])
  private let revocation = Atomic<Bool>(false)
  /// What watches for requests to give the device back; see `VFIODevice+Removal.swift`.
  let watches = Mutex<[EventSubscription]>([])

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
    do throws(KernelError) {
      return try mapAligned(area, at: offset)
    } catch {
      throw isRevoked ? goneError("mmap", error.subject) : error
    }
  }

  private func mapAligned(
    _ area: Range<UInt64>, at offset: UInt64
  ) throws(KernelError) -> MappedMemory {
    guard let page = [1 << 30, 1 << 21].first(where: { area.count >= $0 }) else {
      return try MappedMemory.sharing(owned, offset: offset, byteCount: area.count)
    }
    return try MappedMemory.sharing(
      owned, offset: offset, byteCount: area.count, alignment: page,
      rest: Int(area.lowerBound % UInt64(page)))
  }

  /// Whether the device was given back before its last holder was gone.
  var isRevoked: Bool { revocation.load(ordering: .acquiring) }

  /// Makes a call with the device's descriptor; once the device is revoked it answers `ENODEV`.
  @discardableResult
  func call<Value: FixedWidthInteger & SignedInteger>(
    _ operation: StaticString, on subject: @autoclosure () -> String, _ body: (CInt) -> Value
  ) throws(KernelError) -> Value {
    let fd = owned.rawValue
    do throws(KernelError) {
      return try kernelCall(operation, on: subject()) { body(fd) }
    } catch {
      // The number belongs to another file then, whose errors mean nothing here.
      throw isRevoked ? goneError(operation.description, subject()) : error
    }
  }

  /// Makes a call that gives something back; of a device that was revoked, it went with the device.
  func release(
    _ operation: StaticString, on subject: @autoclosure () -> String = "", _ body: (CInt) -> CInt
  ) throws(KernelError) {
    let fd = owned.rawValue
    try kernelRelease(operation, on: subject()) {
      let result = body(fd)
      return isRevoked ? 0 : result
    }
  }

  func goneError(_ operation: String, _ subject: String) -> KernelError {
    KernelError(
      operation: operation, errno: .operationNotSupportedByDevice, subject: subject,
      remedy: "the device was taken away: it was unplugged or unbound while it was open")
  }

  /// Remembers a window for as long as it lives, to end it with the device.
  func note(_ backing: DescriptorBacking) throws(KernelError) {
    windows.withLock { windows in
      windows.removeAll { $0.backing == nil }
      windows.append(Window(backing: backing))
    }
    // Mapped before the revocation, noted after it: nobody else ends this one.
    if isRevoked { throw goneError("map BAR", "the window") }
  }

  /// Gives the device back to the kernel while others still hold it: its windows read as all ones from now
  /// on, and calls answer `ENODEV`.
  ///
  /// The kernel sees the last of the device's file go, as with a close: it stops the device's DMA, resets
  /// it, and whoever unbinds it gets on. The descriptor's number stays taken, so that no late call meets a
  /// stranger's file.
  /// - Throws: `KernelError` for `memfd_create`, `mmap`, `eventfd` or `dup3`; what failed may be tried again.
  func revoke() throws(KernelError) {
    revocation.store(true, ordering: .releasing)
    let held = windows.withLock { $0.compactMap { $0.backing } }
    for backing in held { try backing.detachFromDevice() }
    let placeholder = try EventFD()
    let (other, number) = (placeholder.descriptor.rawValue, owned.rawValue)
    try kernelCall("dup3", on: "descriptor \(number)") { abi_dup_over(other, number) }
  }

  /// Detaches the device, or a PASID of it; closing would do it too, but tells nothing.
  func detach(pasid: PASID? = nil, on subject: @autoclosure () -> String = "") throws(KernelError) {
    guard !isRevoked else { return }
    var command = abi_vfio_device_detach_iommufd_pt()
    if let pasid {
      command.flags = ABI_VFIO_DEVICE_DETACH_PASID
      command.pasid = pasid.rawValue
    }
    try release("VFIO_DEVICE_DETACH_IOMMUFD_PT", on: subject()) {
      unsafe abi_vfio_device_detach_iommufd_pt($0, &command)
    }
  }
}
