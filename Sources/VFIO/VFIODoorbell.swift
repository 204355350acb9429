// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DeviceRegisters
public import LinuxHandles
public import PCIBus
internal import Synchronization

/// A register write that the kernel makes whenever an eventfd is signalled (ioeventfd).
///
/// Another process, or the kernel itself, can so start work of the device without access to its registers.
/// It keeps the device open, and is taken away when it is closed or dropped.
/// - Source: `struct vfio_device_ioeventfd`, include/uapi/linux/vfio.h, Linux 4.17.
public struct VFIODoorbell: ~Copyable, Sendable {
  private let wiring: Wiring

  fileprivate init(_ wiring: Wiring) { self.wiring = wiring }

  /// Lets the kernel write once.
  public borrowing func ring() throws(KernelError) { try wiring.event.signal() }

  /// The descriptor of the counter, for whoever else is to ring: each signal is one write.
  ///
  /// The counts are the kernel's to take.
  public var descriptor: CInt { wiring.event.descriptor.rawValue }

  /// Takes it away.
  ///
  /// Dropping it is as good; closing tells what the kernel said.
  public consuming func close() throws(KernelError) { try wiring.takeAway() }

  /// What the kernel was told, which it forgets with the last doorbell.
  fileprivate final class Wiring: Sendable {
    let event: EventFD
    private let handle: VFIODeviceHandle
    private let command: abi_vfio_device_ioeventfd
    private let subject: String
    private let isTakenAway = Atomic<Bool>(false)

    init(
      _ event: consuming EventFD, of handle: VFIODeviceHandle, _ command: abi_vfio_device_ioeventfd,
      subject: String
    ) throws(KernelError) {
      var command = command
      command.fd = event.descriptor.rawValue
      try handle.call("VFIO_DEVICE_IOEVENTFD", on: subject) { fd in
        unsafe abi_vfio_device_ioeventfd(fd, &command)
      }
      self.event = event
      self.handle = handle
      self.command = command
      self.subject = subject
    }

    func takeAway() throws(KernelError) {
      guard !isTakenAway.exchange(true, ordering: .relaxed) else { return }
      var command = command
      command.fd = -1
      try handle.release("VFIO_DEVICE_IOEVENTFD", on: subject) {
        unsafe abi_vfio_device_ioeventfd($0, &command)
      }
    }

    deinit { _ = try? takeAway() }
  }
}

extension VFIODevice {
  /// Lets the kernel write a value to a register whenever an eventfd is signalled.
  /// - Parameters:
  ///   - register: Its width is that of the write.
  ///   - event: Taken over; nil for a new one, see ``VFIODoorbell/descriptor``.
  /// - Throws: `KernelError` for `VFIO_DEVICE_IOEVENTFD`: `EINVAL` outside of the BAR or in the MSI-X table,
  ///   `EEXIST` where the same value at the same place has a doorbell, `ENOSPC` above 1000 of them.
  public borrowing func makeDoorbell<Word: FixedWidthInteger>(
    at register: Register<Word>, in bar: PCIBAR.Index, writing value: Word,
    signalledBy event: consuming EventFD? = nil
  ) throws(KernelError) -> VFIODoorbell {
    var command = abi_vfio_device_ioeventfd()
    // The flag of a width is the number of its bytes.
    command.flags = UInt32(MemoryLayout<Word>.size)
    command.offset = regions[bar.rawValue].fileOffset + UInt64(register.byteOffset)
    command.data = UInt64(truncatingIfNeeded: value)
    let own: EventFD
    switch consume event {
    case .some(let event): own = event
    case .none: own = try EventFD()
    }
    return VFIODoorbell(
      try VFIODoorbell.Wiring(
        own, of: handle, command, subject: "\(address), BAR \(bar.rawValue) at \(register.byteOffset)"))
  }
}
