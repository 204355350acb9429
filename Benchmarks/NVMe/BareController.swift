// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DeviceRegisters
internal import DriverCore
internal import LinuxHandles
internal import PCIBus
internal import Synchronization
internal import SystemPackage

/// The least that the driver takes for an NVMe controller.
///
/// It answers admin commands, and its I/O doorbells are plain memory that nobody looks at. What completes a command is
/// the benchmark itself, ahead of time.
final class BareController: RegisterBacking {
  private struct State {
    var configuration: UInt32 = 0
    var submissions: UInt64 = 0
    var completions: UInt64 = 0
    var head = 0
    /// Where the I/O completion queue lies.
    var ioCompletions: UInt64 = 0
  }

  private static let adminEntryCount = 32
  private let state = Mutex(State())
  /// From the first I/O doorbell on.
  private let doorbells: MappedMemory
  private static let windowByteCount = 0x2000

  init() throws(KernelError) { doorbells = try .anonymous(byteCount: 4096) }

  /// The doorbells of the admin queues go through calls, the others are memory.
  func window() -> RegisterWindow {
    unsafe RegisterWindow(
      byteCount: Self.windowByteCount, mappedBase: doorbells.baseAddress + 8,
      mappedRange: 0x1008..<Self.windowByteCount, backing: self)
  }

  /// The entries of the only I/O completion queue.
  @unsafe var completionEntries: UnsafeMutableRawPointer? {
    unsafe UnsafeMutableRawPointer(bitPattern: UInt(state.withLock { $0.ioCompletions }))
  }

  func load(at byteOffset: Int, byteWidth: Int) throws(KernelError) -> UInt64 {
    switch byteOffset {
    // Queues of 65536 entries, ready in 500 ms, NVM commands.
    case 0x00: 0xffff | 1 << 16 | 1 << 24 | 1 << 37
    case 0x08: 0x0001_0400
    case 0x14: UInt64(state.withLock { $0.configuration })
    case 0x1c: UInt64(state.withLock { $0.configuration & 1 })
    default: 0
    }
  }

  func store(_ value: UInt64, at byteOffset: Int, byteWidth: Int) throws(KernelError) {
    state.withLock { state in
      switch byteOffset {
      case 0x14:
        state.configuration = UInt32(truncatingIfNeeded: value)
        if value & 1 == 0 { state.head = 0 }
      case 0x28: state.submissions = value
      case 0x30: state.completions = value
      case 0x1000: answer(upTo: Int(value), &state)
      default: break
      }
    }
  }

  /// Does admin commands; the driver's addresses are this process's own.
  private func answer(upTo tail: Int, _ state: inout State) {
    while state.head != tail {
      let command = unsafe UnsafePointer<UInt64>(
        bitPattern: UInt(state.submissions) + UInt(state.head * 64)
      ).unsafelyUnwrapped
      let (header, data) = unsafe (command[0], command[3])
      switch UInt8(truncatingIfNeeded: header) {
      case 0x05: state.ioCompletions = data
      case 0x06:
        // 1 namespace, 4 event requests; a serial number is not looked at.
        let page = unsafe UnsafeMutablePointer<UInt8>(bitPattern: UInt(data)).unsafelyUnwrapped
        for place in 0..<4096 { unsafe page[place] = 0 }
        unsafe page[516] = 1
        unsafe page[259] = 3
      default: break
      }
      let entry = unsafe UnsafeMutablePointer<UInt32>(
        bitPattern: UInt(state.completions) + UInt(state.head * 16)
      ).unsafelyUnwrapped
      unsafe entry[0] = 0
      unsafe entry[3] = UInt32(truncatingIfNeeded: header >> 16) & 0xffff | 1 << 16
      state.head += 1
      precondition(state.head < Self.adminEntryCount, "a benchmark has few admin commands")
    }
  }

  func takeFault() -> KernelError? { nil }
  func recordFault(_ error: KernelError) { fatalError("\(error)") }
}

/// The function of a ``BareController``.
struct BareFunction: ~Copyable, PCIFunction {
  let controller: BareController
  let addressSpace: any AddressSpace = OwnAddresses()
  let configuration: any ConfigurationSpace = NoConfiguration()
  let interruptSource: any InterruptSource

  init(_ controller: BareController) throws(KernelError) {
    self.controller = controller
    interruptSource = try NoInterrupts()
  }

  var address: PCIAddress {
    guard let address = PCIAddress("0000:00:00.0") else { preconditionFailure("this is how one is written") }
    return address
  }
  var resources: PCIFunctionResources {
    PCIFunctionResources(barByteCounts: [0x2000, 0, 0, 0, 0, 0], vectorCounts: [:], isResettable: false)
  }
  borrowing func mapBAR(_ index: PCIBAR.Index) throws(KernelError) -> RegisterWindow { controller.window() }
  borrowing func setBusMaster(_ isEnabled: Bool) throws(KernelError) {}
  borrowing func reset() throws(KernelError) {}
}

/// An address space in which a device's addresses are this process's.
private final class OwnAddresses: AddressSpace {
  let label = "own addresses"
  let granuleByteCount = 4096
  let reservations = IOVAReservations(allowed: [IOVARange(start: IOVA(0x1000), last: IOVA(1 << 47))])
  private let bases = Mutex<[IOVA: UInt64]>([:])

  func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    let start = UInt64(UInt(bitPattern: base))
    bases.withLock { $0[range.start] = start }
  }
  func unmapPages(_ range: IOVARange) throws(KernelError) {
    _ = bases.withLock { $0.removeValue(forKey: range.start) }
  }
  func busAddress(of range: IOVARange) throws(KernelError) -> IOVA {
    IOVA(bases.withLock { $0[range.start] } ?? range.start.rawValue)
  }
}

private struct NoConfiguration: ConfigurationSpace {
  let byteCount = 256
  func read(at byteOffset: Int, width: ConfigurationWidth) throws(KernelError) -> UInt32 { 0 }
  func write(_ value: UInt32, at byteOffset: Int, width: ConfigurationWidth) throws(KernelError) {}
}

private final class NoInterrupts: InterruptSource {
  let events: PCIFunctionEvents
  init() throws(KernelError) { events = try PCIFunctionEvents() }
  func facts(of kind: InterruptKind) -> InterruptFacts? { nil }
  func arm(
    _ kind: InterruptKind, from start: Int, signalling events: [CInt?], adding isAdding: Bool
  ) throws(KernelError) {}
  func disarm(_ kind: InterruptKind) throws(KernelError) {}
  func trigger(_ kind: InterruptKind, _ vectors: Range<Int>) throws(KernelError) {}
  func trigger(_ kind: InterruptKind, from start: Int, where chosen: [Bool]) throws(KernelError) {}
  func setMasked(_ isMasked: Bool, _ kind: InterruptKind, vector: Int) throws(KernelError) {}
  func unmask(_ kind: InterruptKind, vector: Int, whenSignalled event: CInt?) throws(KernelError) {}
}
