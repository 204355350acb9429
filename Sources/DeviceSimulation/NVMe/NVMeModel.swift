// SPDX-License-Identifier: Apache-2.0
internal import DMACore
public import LinuxHandles
public import PCIBus
internal import Synchronization

/// An NVMe controller in software: admin and I/O queues, namespaces in memory or in files, and ways to be broken.
///
/// A command is done when its doorbell is written, on the thread that writes it, or on the controller's own
/// (``NVMeModelOptions/pollsDoorbells``), or after ``NVMeModelOptions/latency`` by the function's clock.
/// - Source: NVM Express Base Specification 2.0; NVM Command Set Specification 1.0.
public final class NVMeModel: DeviceModel {
  let options: NVMeModelOptions
  let state: Mutex<State>
  /// Nil for a controller that is called for each doorbell.
  let doorbells: NVMeDoorbells?
  /// What looks at them.
  let thread = Mutex<OwnedThread?>(nil)

  /// Makes a controller, as it is after power-on.
  /// - Throws: `KernelError` for the memory or the files of the namespaces.
  public init(
    _ options: NVMeModelOptions = NVMeModelOptions(), _ misbehaviour: NVMeMisbehaviour = .none
  ) throws(KernelError) {
    self.options = options
    doorbells = options.pollsDoorbells ? try NVMeDoorbells() : nil
    var namespaces: [Namespace] = []
    for namespace in options.namespaces {
      namespaces.append(
        Namespace(
          store: try NVMeStore(namespace), byteCount: namespace.blockCount << UInt64(namespace.blockShift),
          shift: namespace.blockShift, isActive: namespace.isActive))
    }
    state = Mutex(State(namespaces: namespaces, misbehaviour: misbehaviour, options))
  }

  struct Namespace {
    let store: NVMeStore
    let byteCount: UInt64
    var shift: Int
    var isActive: Bool
    var blockCount: UInt64 { byteCount >> UInt64(shift) }
  }

  struct SubmissionQueue {
    let address: UInt64
    let entryCount: Int
    let completionQueue: Int
    var head = 0
    var tail = 0
    /// How many commands were not taken yet.
    var newCount: Int { tail >= head ? tail - head : tail - head + entryCount }

    mutating func advance() {
      head += 1
      if head == entryCount { head = 0 }
    }
  }

  struct CompletionQueue {
    let address: UInt64
    let entryCount: Int
    /// Nil where the queue sends no interrupts.
    let vector: Int?
    var head = 0
    var tail = 0
    var phase: UInt16 = 1
    /// What found no room.
    var waiting: [Completion] = []
    /// How many entries have room.
    var freeCount: Int { head > tail ? head - tail - 1 : head - tail - 1 + entryCount }

    mutating func advance() {
      tail += 1
      guard tail == entryCount else { return }
      tail = 0
      phase ^= 1
    }
  }

  struct Completion {
    var id: UInt16
    let queue: Int
    let result: UInt32
    let status: NVMeModelStatus
  }

  /// A command that ends with a status of somebody's choice.
  struct Injection {
    let opcode: UInt8
    let status: UInt16
    var count: Int
  }

  struct State {
    var namespaces: [Namespace]
    var misbehaviour: NVMeMisbehaviour
    var port: (any DevicePort)?
    var configuration: UInt32 = 0
    var status: UInt32 = 0
    var adminAttributes: UInt32 = 0
    var adminSubmissions: UInt64 = 0
    var adminCompletions: UInt64 = 0
    var bufferControl: UInt64 = 0
    var buffer: [UInt8]
    var submissionQueues: NVMeQueueTable<SubmissionQueue>
    var completionQueues: NVMeQueueTable<CompletionQueue>
    /// Asynchronous event requests, by command id.
    var eventRequests: [UInt16] = []
    /// Kinds of event that were told and not looked at.
    var maskedEvents: Set<UInt32> = []
    /// Events for which there was no request, at most one of a kind.
    var waitingEvents: [UInt32] = []
    var features: [UInt8: UInt32] = [:]
    /// Commands that were taken and not completed, by queue.
    var held: [Int: [NVMeModelCommand]] = [:]
    var shadowDoorbells: UInt64?
    var eventIndices: UInt64 = 0
    var injections: [Injection] = []
    var isDead = false
    var errorCount: UInt64 = 0
    var errors: [[UInt8]] = []
    var counts = Counts()
    /// Counts resets, so that a delayed command of an earlier life is dropped.
    var life = 0

    init(namespaces: [Namespace], misbehaviour: NVMeMisbehaviour, _ options: NVMeModelOptions) {
      self.namespaces = namespaces
      self.misbehaviour = misbehaviour
      submissionQueues = NVMeQueueTable(count: options.queuePairCount + 1)
      completionQueues = NVMeQueueTable(count: options.queuePairCount + 1)
      buffer = [UInt8](repeating: 0, count: options.memoryBufferByteCount)
    }
  }

  /// What the controller did since power-on.
  public struct Counts: Hashable, Sendable {
    /// Commands read and write, and blocks of 512 bytes.
    public var reads: UInt64 = 0, writes: UInt64 = 0, unitsRead: UInt64 = 0, unitsWritten: UInt64 = 0
    /// Flush commands.
    public var flushes: UInt64 = 0
    /// Resets by CC.EN and by the function.
    public var resets: UInt64 = 0
    /// Orderly shutdowns.
    public var shutdowns: UInt64 = 0
    /// Doorbell registers that were written.
    public var doorbells: UInt64 = 0
    /// Commands that were fetched from the memory buffer.
    public var fetchesFromBuffer: UInt64 = 0
  }

  /// 1b36:0010, BAR0 of 16 KiB, MSI-X, and BAR2 where there is a memory buffer.
  public var facts: DeviceFacts {
    var bars = [DeviceBAR(index: 0, byteCount: 0x4000, kind: .memory64)]
    if options.memoryBufferByteCount > 0 {
      bars.append(DeviceBAR(index: 2, byteCount: options.memoryBufferByteCount, kind: .memory64))
    }
    return DeviceFacts(
      identity: DeviceIdentity(
        vendorID: 0x1b36, deviceID: 0x0010, classCode: 0x010802, revision: 2, subsystemVendorID: 0x1af4,
        subsystemID: 0x1100),
      bars: bars,
      capabilities: [
        .msix(
          vectorCount: options.queuePairCount + 1, tableBAR: 0, tableOffset: 0x2000, pendingBAR: 0,
          pendingOffset: 0x3000), .pciExpress,
      ])
  }

  // MARK: For tests

  /// In which way it is broken from now on.
  public var misbehaviour: NVMeMisbehaviour {
    get { state.withLock { $0.misbehaviour } }
    set { state.withLock { $0.misbehaviour = newValue } }
  }

  /// What it did.
  public var counts: Counts { state.withLock { $0.counts } }

  /// Lets the next commands of an opcode, on I/O queues, end with a status.
  /// - Parameter status: Code in 7:0, type in 10:8, "do not retry" in 14.
  public func fail(next count: Int = 1, opcode: UInt8, with status: UInt16) {
    state.withLock { $0.injections.append(Injection(opcode: opcode, status: status, count: count)) }
  }

  /// Lets the controller tell an asynchronous event.
  /// - Parameter event: Type in 2:0, information in 15:8, log page in 23:16.
  public func tell(_ event: UInt32) { state.withLock { tell(event, &$0) } }

  /// A part of a namespace's bytes.
  public func bytes(ofNamespace id: UInt32, at start: Int, byteCount: Int) -> [UInt8] {
    state.withLock { state in
      state.namespaces[Int(id) - 1].store.withBytes(start, byteCount) { span in
        (0..<byteCount).map { unsafe span.unsafeLoad(fromByteOffset: $0, as: UInt8.self) }
      }
    }
  }

  /// Makes a namespace active or not.
  public func setActive(_ isActive: Bool, namespace id: UInt32) {
    state.withLock { $0.namespaces[Int(id) - 1].isActive = isActive }
  }

  // MARK: DeviceModel

  /// The doorbells of a controller that polls them.
  public func memory(in bar: PCIBAR.Index) -> DeviceBARMemory? { bar == .bar0 ? doorbells?.registers : nil }

  /// Keeps the port, and starts the controller's thread where it has one.
  public func attach(to port: any DevicePort) throws(KernelError) {
    state.withLock { $0.port = port }
    try startPolling(through: port)
  }

  /// Ends the controller's thread.
  public func detach() { stopPolling() }

  /// Power-on values; what the namespaces have stays.
  public func reset() {
    state.withLock { state in
      disable(&state)
      state.status = 0
      state.configuration = 0
      (state.adminAttributes, state.adminSubmissions, state.adminCompletions) = (0, 0, 0)
      state.bufferControl = 0
      state.isDead = false
    }
  }

  /// Reads a register of 4 bytes, or one of 8 at once.
  public func readRegister(_ bar: PCIBAR.Index, at byteOffset: Int, byteWidth: Int) -> UInt64 {
    state.withLock { state in
      if bar == .bar2 { return readBuffer(byteOffset, byteWidth, state) }
      guard state.misbehaviour != .allOnes else { return .max }
      guard byteWidth == 4 || byteWidth == 8 else { return .max }
      let low = UInt64(register(at: byteOffset, state))
      return byteWidth == 4 ? low : low | UInt64(register(at: byteOffset + 4, state)) << 32
    }
  }

  private func register(at byteOffset: Int, _ state: State) -> UInt32 {
    func half(_ value: UInt64) -> UInt32 {
      UInt32(truncatingIfNeeded: value >> (byteOffset & 4 == 0 ? 0 : 32))
    }
    let hasBuffer = options.memoryBufferByteCount > 0
    let isBufferShown = hasBuffer && state.bufferControl & 1 != 0
    switch byteOffset {
    case 0x00: return UInt32(options.entryCount - 1) | 1 << 16 | 1 << 24  // queues in one piece; 500 ms
    case 0x04: return 1 << 5 | (hasBuffer ? 1 << 25 : 0)  // NVM commands
    case 0x08: return 0x0001_0400
    case 0x14: return state.configuration
    case 0x1c: return state.status
    case 0x24: return state.adminAttributes
    case 0x28, 0x2c: return half(state.adminSubmissions)
    case 0x30, 0x34: return half(state.adminCompletions)
    case 0x38: return isBufferShown ? 2 : 0
    case 0x3c: return isBufferShown ? 1 | UInt32(options.memoryBufferByteCount / 4096) << 12 : 0
    case 0x50, 0x54: return half(state.bufferControl)
    default: return 0
    }
  }

  /// Writes a register or a doorbell.
  public func writeRegister(_ value: UInt64, _ bar: PCIBAR.Index, at byteOffset: Int, byteWidth: Int) {
    state.withLock { state in
      guard state.misbehaviour != .allOnes else { return }
      if bar == .bar2 { return writeBuffer(value, byteOffset, byteWidth, &state) }
      guard byteWidth == 4 || byteWidth == 8 else { return }
      write(UInt32(truncatingIfNeeded: value), at: byteOffset, &state)
      if byteWidth == 8 { write(UInt32(truncatingIfNeeded: value >> 32), at: byteOffset + 4, &state) }
    }
  }

  private func write(_ word: UInt32, at byteOffset: Int, _ state: inout State) {
    func put(_ place: inout UInt64) {
      place =
        byteOffset & 4 == 0
        ? place & ~0xffff_ffff | UInt64(word) : place & 0xffff_ffff | UInt64(word) << 32
    }
    switch byteOffset {
    case 0x14: configure(word, &state)
    case 0x24: state.adminAttributes = word
    case 0x28, 0x2c: put(&state.adminSubmissions)
    case 0x30, 0x34: put(&state.adminCompletions)
    case 0x50, 0x54: put(&state.bufferControl)
    case 0x1000..<0x2000:
      let number = (byteOffset - 0x1000) / 4
      // The thread sees it.
      if let doorbells { return doorbells.store(word, number: number) }
      takeDoorbell(number, word, &state)
    default: break
    }
  }

  private func configure(_ word: UInt32, _ state: inout State) {
    let was = state.configuration
    state.configuration = word
    if word & 1 == 0 {
      if state.misbehaviour == .neverStops { return }
      if was & 1 != 0 { state.counts.resets += 1 }
      disable(&state)
    } else if was & 1 == 0 {
      enable(&state)
    }
    if word >> 14 & 3 != 0, was >> 14 & 3 == 0 {
      state.counts.shutdowns += 1
      state.status = state.status & ~0xc | 2 << 2
    }
  }

  private func enable(_ state: inout State) {
    guard state.misbehaviour != .neverReady, !state.isDead else { return }
    doorbells?.clearAll()
    let attributes = state.adminAttributes
    state.completionQueues[0] = CompletionQueue(
      address: state.adminCompletions, entryCount: Int(attributes >> 16 & 0xfff) + 1, vector: 0)
    state.submissionQueues[0] = SubmissionQueue(
      address: state.adminSubmissions, entryCount: Int(attributes & 0xfff) + 1, completionQueue: 0)
    state.status = 1
  }

  private func disable(_ state: inout State) {
    state.life += 1
    // A reset brings a controller back that had died.
    state.isDead = false
    state.status = 0
    state.submissionQueues.removeAll()
    state.completionQueues.removeAll()
    doorbells?.clearAll()
    (state.eventRequests, state.maskedEvents, state.waitingEvents) = ([], [], [])
    state.features = [:]
    state.held = [:]
    state.shadowDoorbells = nil
  }

  // MARK: Memory buffer

  private func readBuffer(_ byteOffset: Int, _ byteWidth: Int, _ state: State) -> UInt64 {
    (0..<byteWidth).reversed().reduce(0) { $0 << 8 | UInt64(state.buffer[byteOffset + $1]) }
  }

  private func writeBuffer(_ value: UInt64, _ byteOffset: Int, _ byteWidth: Int, _ state: inout State) {
    for byte in 0..<byteWidth {
      state.buffer[byteOffset + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte))
    }
  }
}
