// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DeviceRegisters
internal import LinuxHandles
internal import SystemPackage

/// Ordinary memory in the place of a device's registers.
final class PlainRegisters: RegisterBacking {
  let memory: MappedMemory

  init(byteCount: Int) throws(KernelError) { memory = try .anonymous(byteCount: byteCount) }

  func window() -> RegisterWindow {
    unsafe RegisterWindow(
      byteCount: memory.byteCount, mappedBase: memory.baseAddress, mappedRange: 0..<memory.byteCount,
      backing: self)
  }

  // Nothing lies outside the mapped part.
  func load(at byteOffset: Int, byteWidth: Int) throws(KernelError) -> UInt64 {
    throw KernelError(operation: "load", errno: .invalidArgument, subject: "offset \(byteOffset)")
  }
  func store(_ value: UInt64, at byteOffset: Int, byteWidth: Int) throws(KernelError) {
    throw KernelError(operation: "store", errno: .invalidArgument, subject: "offset \(byteOffset)")
  }
  func takeFault() -> KernelError? { nil }
  func recordFault(_ error: KernelError) { fatalError("\(error)") }
}

/// An address space without a device.
final class PlainAddressSpace: AddressSpace {
  let label = "no device"
  let granuleByteCount = 4096
  let reservations = IOVAReservations(allowed: [IOVARange(start: IOVA(0x10000), last: IOVA(0xffff_ffff))])

  func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {}
  func unmapPages(_ range: IOVARange) throws(KernelError) {}
}
