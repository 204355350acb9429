// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore
import LinuxHandles
import PCIBus
import VFIO

/// The DMA engine of an open edu device, without its driver: for tests of what lies below.
struct EduTransfer: ~Copyable {
  let device: VFIODevice
  let window: RegisterWindow

  /// Opens the device and lets it do DMA.
  init(_ mode: VFIOMode, _ address: PCIAddress = LabFunction.edu) throws {
    let device = try LabFunction.open(address, mode)
    let window = try device.mapBAR(.bar0)
    try device.setBusMaster(true)
    self.device = device
    self.window = window
  }

  /// Lets the device copy between its buffer and the bus, and does not wait.
  borrowing func start(_ iova: IOVA, byteCount: Int, toMemory: Bool) {
    let (bus, own) = (iova.rawValue, UInt64(0x40000))
    window.store(toMemory ? own : bus, at: 0x80)
    window.store(toMemory ? bus : own, at: 0x88)
    window.store(UInt64(byteCount), at: 0x90)
    window.store(UInt64(toMemory ? 3 : 1), at: 0x98)
  }

  var isRunning: Bool { window.load(UInt64.self, at: 0x98) & 1 != 0 }

  borrowing func wait() throws {
    try Deadline(.seconds(5)).poll("transfer") { window.load(UInt64.self, at: 0x98) & 1 == 0 }
  }

  /// Reads bytes from the bus into the device's buffer and waits.
  borrowing func read(_ iova: IOVA, byteCount: Int) throws {
    start(iova, byteCount: byteCount, toMemory: false)
    try wait()
  }

  /// Writes bytes from the device's buffer to the bus and waits.
  borrowing func write(_ iova: IOVA, byteCount: Int) throws {
    start(iova, byteCount: byteCount, toMemory: true)
    try wait()
  }
}

extension AddressSpace {
  /// Exposes memory where edu reaches it: below 2^28.
  func exposeToEdu(
    _ memory: consuming UnsharedMemory, access: DMAAccess = .readWrite
  ) throws(KernelError) -> DMAMemory {
    try expose(memory, access: access, addressBits: 28)
  }
}
