// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DeviceRegisters
internal import DriverCore
internal import Glibc
internal import LinuxHandles
internal import PCIBus
internal import Synchronization

/// A controller from reset to shutdown, and its admin queues: one command at a time, from any thread.
///
/// It alone decides whether the controller is known to be stopped, which is what memory waits for.
final class NVMeAdmin: Sendable {
  /// What is known of the controller.
  enum Condition: Hashable, Sendable {
    /// It does nothing, and reaches no memory.
    case stopped
    case running
    /// It was asked to stop, and nobody knows whether it did.
    case lost
  }

  struct State: ~Copyable {
    var queue: NVMeQueuePair
    var condition = Condition.stopped
    var nextTag: UInt64 = 1
    /// Asynchronous event requests that the controller holds.
    var requestCount = 0
    var events: [NVMeEvent] = []
  }

  let registers: NVMeRegisterFile
  let capabilities: NVMeCapabilities
  /// The limit of a command.
  let patience: Duration
  private let configuration: any ConfigurationSpace
  private let queueMemory: NVMeQueueMemory
  private let page: Page
  private let state: Mutex<State>
  /// Counts the controller's lives: what an earlier one had, such as queues, is gone.
  let life = Atomic<Int>(0)

  /// The data of a command.
  private final class Page: Sendable {
    let memory: DMAMemory
    init(in space: any AddressSpace, near node: NUMANode?) throws(KernelError) {
      memory = try space.expose(
        UnsharedMemory(byteCount: NVMeAdmin.pageByteCount, on: node), access: .readWrite, sharing: .coherent)
    }
  }

  static let pageByteCount = 4096
  /// The tag of asynchronous event requests; those of commands count from 1.
  private static let eventTag: UInt64 = 0
  private static let entryCount = 32

  /// Takes what it needs of a function; touches no register.
  init<Function: PCIFunction & ~Copyable>(
    of function: borrowing Function, _ registers: NVMeRegisterFile, _ capabilities: NVMeCapabilities,
    patience: Duration
  ) throws(KernelError) {
    self.registers = registers
    self.capabilities = capabilities
    self.patience = patience
    configuration = function.configuration
    let (space, node) = (function.addressSpace, function.resources.node)
    let entryCount = min(Self.entryCount, capabilities.greatestEntryCount)
    queueMemory = try NVMeQueueMemory(entryCount: entryCount, in: space, near: node)
    page = try Page(in: space, near: node)
    state = Mutex(State(queue: NVMeQueuePair(NVMeQueueResources(id: 0, queueMemory, registers))))
  }

  deinit {
    _ = try? stop()
    guard condition == .lost else { return }
    // It may still use them: nobody else may have them.
    _ = unsafe Unmanaged.passRetained(queueMemory)
    _ = unsafe Unmanaged.passRetained(page)
  }

  var condition: Condition { state.withLock { $0.condition } }

  // MARK: Life

  /// Brings the controller up, whatever it was doing.
  /// - Throws: `NVMeError`: `.timedOut`, `.deviceFault` or `.removed`; it is stopped then, or lost.
  func start() throws(NVMeError) {
    try locked { state throws(NVMeError) in
      try stop(&state)
      state.queue.clear()
      state.requestCount = 0
      let entries = UInt32(queueMemory.entryCount - 1)
      registers.window.write(entries << 16 | entries, to: NVMeRegisters.adminQueueAttributes)
      registers.window.write(queueMemory.submissionAddress.rawValue, to: NVMeRegisters.adminSubmissionQueue)
      registers.window.write(queueMemory.completions.iova.rawValue, to: NVMeRegisters.adminCompletionQueue)
      state.condition = .running
      registers.window.write(
        NVMeRegisters.Configuration.entrySizes | NVMeRegisters.Configuration.enable,
        to: NVMeRegisters.configuration)
      do throws(NVMeError) {
        try waitForStatus("ready") { $0 & NVMeRegisters.Status.ready != 0 }
      } catch {
        _ = try? stop(&state)
        throw error
      }
    }
  }

  /// Resets the controller: when it returns, no queue exists and no memory is reached.
  /// - Throws: `NVMeError` of code `.notStopped`, and the controller is lost; its bus master bit is off then.
  func stop() throws(NVMeError) {
    try locked { state throws(NVMeError) in try stop(&state) }
  }

  private func stop(_ state: inout State) throws(NVMeError) {
    life.add(1, ordering: .sequentiallyConsistent)
    if state.condition == .lost { throw NVMeError(.notStopped, "an earlier reset failed") }
    let configuration = registers.window.read(NVMeRegisters.configuration)
    registers.window.write(
      configuration == .max ? 0 : configuration & ~NVMeRegisters.Configuration.enable,
      to: NVMeRegisters.configuration)
    do throws(NVMeError) {
      try waitForStatus("not ready", mayBeFatal: true) { $0 & NVMeRegisters.Status.ready == 0 }
      state.condition = .stopped
    } catch {
      if error.code == .removed, (try? self.configuration.vendorID) ?? .max == .max {
        // Not even its configuration space answers: it is not there, and reaches nothing.
        state.condition = .stopped
        throw error
      }
      guard state.condition == .running else { throw error }
      _ = try? self.configuration.setBusMaster(false)
      state.condition = .lost
      throw NVMeError(.notStopped, "\(error); its memory is kept from use, reset the function")
    }
  }

  /// Says that the function was reset, which stops the controller for certain.
  func functionWasReset() {
    life.add(1, ordering: .sequentiallyConsistent)
    state.withLock { $0.condition = .stopped }
  }

  /// Lets the controller write what it holds, and stops it.
  func shutDown() throws(NVMeError) {
    try locked { state throws(NVMeError) in
      guard state.condition == .running else { return try stop(&state) }
      let configuration = registers.window.read(NVMeRegisters.configuration)
      registers.window.write(
        configuration & ~NVMeRegisters.Configuration.shutdownMask
          | NVMeRegisters.Configuration.normalShutdown,
        to: NVMeRegisters.configuration)
      var failure: NVMeError?
      do throws(NVMeError) {
        try waitForStatus("shut down") {
          $0 & NVMeRegisters.Status.shutdownMask == NVMeRegisters.Status.shutdownComplete
        }
      } catch {
        failure = error
      }
      try stop(&state)
      if let failure { throw failure }
    }
  }

  private func waitForStatus(
    _ what: String, mayBeFatal: Bool = false, _ isDone: (UInt32) -> Bool
  ) throws(NVMeError) {
    try NVMeError.wrapping { () throws(DriverError) in
      try Deadline(capabilities.readyTimeout).poll("the controller does not become \(what)") {
        () throws(DriverError) in
        let status = registers.window.read(NVMeRegisters.status)
        try Self.check(status, mayBeFatal: mayBeFatal)
        return isDone(status)
      }
    }
  }

  /// - Throws: `.removed` for all ones, `.deviceFault` for a controller that says that it is broken.
  private static func check(_ status: UInt32, mayBeFatal: Bool = false) throws(DriverError) {
    guard status != .max else { throw DriverError(code: .removed, detail: "the registers read as all ones") }
    guard mayBeFatal || status & NVMeRegisters.Status.fatal == 0 else {
      throw DriverError(code: .deviceFault, detail: "the controller reports a fatal status (CFS)")
    }
  }

  /// Checks that the controller is there and does not say that it is broken.
  func checkStatus() throws(NVMeError) {
    try NVMeError.wrapping { () throws(DriverError) in
      try Self.check(registers.window.read(NVMeRegisters.status))
    }
  }

  // MARK: Commands

  /// Lets the controller do one command.
  /// - Parameters:
  ///   - bytes: Data for it, at most a page.
  ///   - byteCount: How many bytes it answers, at most a page.
  ///   - limit: Nil for ``patience``.
  /// - Throws: `NVMeError`; where the controller does not answer, it is reset first.
  func execute(
    _ opcode: NVMeOpcode, _ command: NVMeCommand, sending bytes: [UInt8] = [], receiving byteCount: Int = 0,
    limit: Duration? = nil
  ) throws(NVMeError) -> (result: UInt32, bytes: [UInt8]) {
    precondition(max(bytes.count, byteCount) <= Self.pageByteCount, "admin data fits a page")
    var command = command
    if !bytes.isEmpty || byteCount > 0 { command.setPages(page.memory.iova.rawValue, 0) }
    return try locked { state throws(NVMeError) in
      guard state.condition == .running else {
        throw NVMeError(.wasReset, "the controller is not running", during: opcode)
      }
      unsafe page.memory.copyIn(bytes.span.bytes)  // SAFETY: the bytes of an array of bytes are initialised
      let completion = try complete(command, opcode, &state, Deadline(limit ?? patience))
      guard completion.status.isSuccess else { throw NVMeError(opcode, endedWith: completion.status) }
      var answer = [UInt8](repeating: 0, count: byteCount)
      var span = answer.mutableSpan
      var raw = unsafe span.mutableBytes  // SAFETY: any byte is a UInt8
      page.memory.copyOut(into: &raw)
      return (completion.result, answer)
    }
  }

  private func complete(
    _ command: NVMeCommand, _ opcode: NVMeOpcode, _ state: inout State, _ deadline: Deadline
  ) throws(NVMeError) -> NVMeCompletion {
    let tag = state.nextTag
    state.nextTag += 1
    guard state.queue.submit(command, tag: tag) else {
      throw NVMeError(.deviceFault, "the admin queue is full of commands that were not completed")
    }
    state.queue.ring()
    do throws(NVMeError) {
      var tries: UInt32 = 0
      while true {
        let wasOver = deadline.isOver
        if let completion = try take(tag, &state) { return completion }
        tries += 1
        // The first look at the status comes late: most commands are done by then.
        if tries > 64 {
          try checkStatus()
          if wasOver { throw NVMeError(.timedOut, "no completion in time", during: opcode) }
          usleep(min(1000, (tries - 64) * 10))
        }
      }
    } catch {
      // A command that is not over may still write to the page.
      try stop(&state)
      throw NVMeError(error.cause, during: opcode)
    }
  }

  /// Takes what has come.
  /// - Returns: The completion of a tag.
  private func take(_ tag: UInt64, _ state: inout State) throws(NVMeError) -> NVMeCompletion? {
    var wanted: NVMeCompletion?
    var (events, endedCount): ([NVMeEvent], Int) = ([], 0)
    try state.queue.reap { completion in
      if completion.tag == tag {
        wanted = completion
      } else if completion.tag == Self.eventTag {
        endedCount += 1
        if completion.status.isSuccess { events.append(NVMeEvent(rawValue: completion.result)) }
      }
    }
    state.requestCount -= endedCount
    state.events += events
    return wanted
  }

  // MARK: Events

  /// Lets the controller hold so many requests, and takes the events that came.
  /// - Parameter count: 1 to 16.
  func takeEvents(keeping count: Int) throws(NVMeError) -> [NVMeEvent] {
    try locked { state throws(NVMeError) in
      guard state.condition == .running else { throw NVMeError(.wasReset, "the controller is not running") }
      _ = try take(.max, &state)
      while state.requestCount < min(count, 16),
        state.queue.submit(NVMeCommand(.asyncEventRequest), tag: Self.eventTag)
      {
        state.requestCount += 1
      }
      state.queue.ring()
      defer { state.events = [] }
      return state.events
    }
  }

  private func locked<Value>(
    _ body: (inout State) throws(NVMeError) -> sending Value
  ) throws(NVMeError) -> sending Value {
    try state.withLock { (state) throws(NVMeError) -> Value in try body(&state) }
  }
}
