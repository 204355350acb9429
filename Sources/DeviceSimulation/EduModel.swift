// SPDX-License-Identifier: Apache-2.0
internal import DMACore
public import PCIBus
internal import Synchronization

/// QEMU's educational device: a liveness check, a factorial, one DMA engine, one interrupt.
/// - Source: QEMU docs/specs/edu.rst and hw/misc/edu.c.
public final class EduModel: DeviceModel {
  /// Where the device's buffer begins, among its own addresses.
  public static let bufferAddress: UInt64 = 0x40000
  /// The buffer's length in bytes.
  public static let bufferByteCount = 4096

  private static let transferTime = Duration.milliseconds(100)
  private static let factorialTime = Duration.microseconds(10)
  private static let addressMask: UInt64 = (1 << 28) - 1

  private static let computing: UInt32 = 0x01
  private static let interruptWhenComputed: UInt32 = 0x80
  private static let run: UInt64 = 1
  private static let toMemory: UInt64 = 2
  private static let interruptWhenMoved: UInt64 = 4

  private struct State {
    var liveness: UInt32 = 0
    var factorial: UInt32 = 0
    var status: UInt32 = 0
    var interruptStatus: UInt32 = 0
    var source: UInt64 = 0
    var destination: UInt64 = 0
    var count: UInt64 = 0
    var command: UInt64 = 0
    var buffer = [UInt8](repeating: 0, count: EduModel.bufferByteCount)
    var hadFault = false
    var port: (any DevicePort)?
  }

  private let misbehaviour: EduMisbehaviour
  private let state = Mutex(State())

  /// Makes a device, as it is after power-on.
  public init(_ misbehaviour: EduMisbehaviour = .none) { self.misbehaviour = misbehaviour }

  /// 1234:11e8, BAR0 of 1 MiB, one MSI vector, INTA#.
  public var facts: DeviceFacts {
    DeviceFacts(
      identity: DeviceIdentity(
        vendorID: 0x1234, deviceID: 0x11e8, classCode: 0x00ff00, revision: 0x10,
        subsystemVendorID: 0x1af4, subsystemID: 0x1100),
      bars: [DeviceBAR(index: 0, byteCount: 1 << 20)], capabilities: [.msi(vectorCount: 1)], interruptPin: 1,
      isResettable: true)
  }

  /// The bytes of the device's own buffer.
  public var buffer: [UInt8] { state.withLock { $0.buffer } }

  /// Keeps the port.
  public func attach(to port: any DevicePort) { state.withLock { $0.port = port } }

  /// Power-on values, but for the buffer's bytes.
  public func reset() {
    state.withLock { state in
      let (buffer, port) = (state.buffer, state.port)
      state = State()
      (state.buffer, state.port) = (buffer, port)
    }
  }

  /// Reads a register: below 0x80 only 32 bits at once are answered, from there on 32 or 64.
  public func readRegister(_ bar: PCIBAR.Index, at byteOffset: Int, byteWidth: Int) -> UInt64 {
    guard byteWidth == 4 || (byteWidth == 8 && byteOffset >= 0x80) else { return .max }
    return state.withLock { state in
      switch byteOffset {
      case 0x00: misbehaviour == .wrongIdentification ? 0x0100_00ee : 0x0100_00ed
      case 0x04: UInt64(state.liveness)
      case 0x08: UInt64(state.factorial)
      case 0x20: UInt64(state.status)
      case 0x24: UInt64(state.interruptStatus)
      case 0x80: state.source
      case 0x88: state.destination
      case 0x90: state.count
      case 0x98: state.command
      default: .max
      }
    }
  }

  /// Writes a register; widths as for reading.
  public func writeRegister(_ value: UInt64, _ bar: PCIBAR.Index, at byteOffset: Int, byteWidth: Int) {
    guard byteWidth == 4 || (byteWidth == 8 && byteOffset >= 0x80) else { return }
    let word = UInt32(truncatingIfNeeded: value)
    state.withLock { state in
      let isMoving = state.command & Self.run != 0
      switch byteOffset {
      case 0x04: state.liveness = misbehaviour == .deafLiveness ? word : ~word
      case 0x08: startFactorial(of: word, &state)
      case 0x20:
        state.status = state.status & ~Self.interruptWhenComputed | word & Self.interruptWhenComputed
      case 0x60: raise(word, &state)
      case 0x64: acknowledge(word, &state)
      case 0x80 where !isMoving: state.source = value
      case 0x88 where !isMoving: state.destination = value
      case 0x90 where !isMoving: state.count = value
      case 0x98 where !isMoving && value & Self.run != 0: startTransfer(value, &state)
      default: break
      }
    }
  }

  // MARK: Factorial

  private func startFactorial(of number: UInt32, _ state: inout State) {
    guard state.status & Self.computing == 0 else { return }
    state.factorial = number
    state.status |= Self.computing
    guard misbehaviour != .deafFactorial else { return }
    state.port?.schedule(after: Self.factorialTime) { [self] in endFactorial(of: number) }
  }

  private func endFactorial(of number: UInt32) {
    // From 34! on all 32 bits are zero.
    let product = number > 33 ? 0 : (0..<number).reduce(UInt32(1)) { $0 &* ($1 + 1) }
    state.withLock { state in
      state.factorial = misbehaviour == .wrongFactorial ? product &+ 1 : product
      state.status &= ~Self.computing
      if state.status & Self.interruptWhenComputed != 0 { raise(0x001, &state) }
    }
  }

  // MARK: Interrupts

  private func raise(_ causes: UInt32, _ state: inout State) {
    state.interruptStatus |= causes
    guard state.interruptStatus != 0, misbehaviour != .lostInterrupt, let port = state.port else { return }
    if port.enabledMessages != nil {
      port.sendMessage(vector: 0)
      if misbehaviour == .doubledInterrupt { port.sendMessage(vector: 0) }
    } else {
      port.setInterruptLine(true)
    }
  }

  private func acknowledge(_ causes: UInt32, _ state: inout State) {
    state.interruptStatus &= ~causes
    if state.interruptStatus == 0 { state.port?.setInterruptLine(false) }
  }

  // MARK: DMA

  private func startTransfer(_ command: UInt64, _ state: inout State) {
    state.command = command
    guard misbehaviour != .stuckDMA, !(misbehaviour == .stuckAfterFault && state.hadFault) else { return }
    state.port?.schedule(after: Self.transferTime) { [self] in endTransfer() }
  }

  private func endTransfer() {
    state.withLock { state in
      let isToMemory = state.command & Self.toMemory != 0
      move(isToMemory: isToMemory, &state)
      let wantsInterrupt = state.command & Self.interruptWhenMoved != 0
      state.command &= ~Self.run
      if wantsInterrupt { raise(0x100, &state) }
    }
  }

  private func move(isToMemory: Bool, _ state: inout State) {
    let inner = isToMemory ? state.source : state.destination
    let outer = (isToMemory ? state.destination : state.source) & Self.addressMask
    // QEMU stops with an error where the device's side is out of bounds; here nothing moves.
    guard let port = state.port, inner >= Self.bufferAddress, state.count <= UInt64(Self.bufferByteCount),
      inner - Self.bufferAddress <= UInt64(Self.bufferByteCount) - state.count, state.count > 0
    else { return }
    let start = Int(inner - Self.bufferAddress)
    let range = start..<(start + Int(state.count))
    if isToMemory {
      var bytes = Array(state.buffer[range])
      if misbehaviour == .corruptedDMA { bytes[bytes.count / 2] ^= 0x10 }
      // SAFETY: the bytes of an array of bytes are initialised.
      if unsafe !port.writeMemory(bytes.span.bytes, at: IOVA(outer)) { state.hadFault = true }
    } else if let bytes = port.readBytes(at: IOVA(outer), byteCount: range.count) {
      state.buffer.replaceSubrange(range, with: bytes)
    } else {
      state.hadFault = true
    }
  }
}
