// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import Synchronization

extension NVMeModel {
  /// Takes what was written to a doorbell.
  func takeDoorbell(_ number: Int, _ word: UInt32, _ state: inout State) {
    guard state.misbehaviour != .allOnes, state.status & 1 != 0, !state.isDead else { return }
    state.counts.doorbells += 1
    ringDoorbell(number, Int(word & 0xffff), &state)
  }

  /// Even ones are of submission queues.
  private func ringDoorbell(_ number: Int, _ value: Int, _ state: inout State) {
    let id = number / 2
    if number % 2 == 0 {
      guard let queue = state.submissionQueues[id], value < queue.entryCount else {
        return tell(0x0001_0000 | (state.submissionQueues[id] == nil ? 0 : 1) << 8, &state)
      }
      state.submissionQueues[id]?.tail = value
      fetchCommands(id, &state)
    } else {
      guard let queue = state.completionQueues[id], value < queue.entryCount else {
        return tell(0x0001_0000 | (state.completionQueues[id] == nil ? 0 : 1) << 8, &state)
      }
      state.completionQueues[id]?.head = value
      let waiting = state.completionQueues[id]?.waiting ?? []
      state.completionQueues[id]?.waiting = []
      for completion in waiting { post(completion, &state) }
    }
  }

  // MARK: Commands

  private func fetchCommands(_ id: Int, _ state: inout State) {
    if id != 0 { doPlainCommands(id, &state) }
    var commands: [NVMeModelCommand] = []
    while var queue = state.submissionQueues[id], queue.head != queue.tail, let port = state.port {
      let address = queue.address + UInt64(queue.head * 64)
      guard let bytes = fetch(address, port, &state) else { return die(&state) }
      queue.advance()
      state.submissionQueues[id] = queue
      commands.append(NVMeModelCommand(bytes))
    }
    askToBeTold(id, &state)
    if options.completesInReverse && id != 0 { commands.reverse() }
    for command in commands where !state.isDead { begin(command, ofQueue: id, &state) }
  }

  private func fetch(_ address: UInt64, _ port: any DevicePort, _ state: inout State) -> [UInt8]? {
    if isInBuffer(address, state) {
      state.counts.fetchesFromBuffer += 1
      let start = Int(address - state.bufferControl & ~0xfff)
      return Array(state.buffer[start..<(start + 64)])
    }
    return port.readBytes(at: IOVA(address), byteCount: 64)
  }

  /// Whether a device's address is one of the controller's own memory.
  func isInBuffer(_ address: UInt64, _ state: State) -> Bool {
    let base = state.bufferControl & ~0xfff
    return state.bufferControl & 2 != 0 && address >= base && address - base < UInt64(state.buffer.count)
  }

  /// Its memory is not there: nothing sensible can go on.
  private func die(_ state: inout State) {
    state.isDead = true
    state.status |= 2
  }

  private func begin(_ command: NVMeModelCommand, ofQueue id: Int, _ state: inout State) {
    if id == 0 { return doAdmin(command, &state) }
    switch state.misbehaviour {
    case .diesAtCommand: return die(&state)
    case .forgetsCommands, .holdsCommands: state.held[id, default: []].append(command)
    default:
      guard options.latency > .zero else { return doBlocks(command, ofQueue: id, &state) }
      state.held[id, default: []].append(command)
      let life = state.life
      state.port?.schedule(after: options.latency) { [self] in
        self.state.withLock { state in
          guard state.life == life, let place = state.held[id]?.firstIndex(where: { $0.id == command.id })
          else { return }
          state.held[id]?.remove(at: place)
          doBlocks(command, ofQueue: id, &state)
        }
      }
    }
  }

  // MARK: Completions

  /// Ends a command.
  func complete(
    _ command: NVMeModelCommand, ofQueue id: Int, _ status: NVMeModelStatus = .success, result: UInt32 = 0,
    _ state: inout State
  ) {
    if status != .success { note(command, ofQueue: id, status, &state) }
    var completion = Completion(id: command.id, queue: id, result: result, status: status)
    if id != 0 {
      if state.misbehaviour == .unknownID { completion.id ^= 0x4000 }
      if state.misbehaviour == .repeatedID { post(completion, &state) }
    }
    post(completion, &state)
  }

  private func post(_ completion: Completion, _ state: inout State) {
    guard let submission = state.submissionQueues[completion.queue],
      var queue = state.completionQueues[submission.completionQueue], let port = state.port
    else { return }
    let id = submission.completionQueue
    if queue.freeCount == 0, let shadow = state.shadowDoorbells,
      let head = port.readWord(UInt32.self, at: IOVA(shadow + UInt64(8 * id + 4)))
    {
      queue.head = Int(head) % queue.entryCount
    }
    guard queue.freeCount > 0 else {
      queue.waiting.append(completion)
      state.completionQueues[id] = queue
      return
    }
    let phase = state.misbehaviour == .phaseJump && id != 0 ? queue.phase ^ 1 : queue.phase
    let place = queue.address + UInt64(queue.tail * 16)
    // The word with the phase comes last; a queue that is not mapped any more swallows it.
    _ = port.writeWord(UInt64(completion.result), at: IOVA(place))
    _ = port.writeWord(
      Self.completionWord(
        completion.id, ofQueue: completion.queue, head: submission.head, phase: phase, completion.status),
      at: IOVA(place + 8))
    queue.advance()
    state.completionQueues[id] = queue
    if let vector = queue.vector, !(state.misbehaviour == .lostInterrupt && id != 0) {
      port.sendMessage(vector: vector)
    }
  }

  /// The second half of an entry: all but the result.
  @inline(__always)
  static func completionWord(
    _ command: UInt16, ofQueue id: Int, head: Int, phase: UInt16, _ status: NVMeModelStatus
  ) -> UInt64 {
    UInt64(head) | UInt64(id) << 16 | UInt64(command) << 32 | UInt64(phase) << 48 | UInt64(status.rawValue)
      << 49
  }

  // MARK: Doorbells in memory

  /// Lets the host write the register for the next command, since nobody looks at the page meanwhile.
  private func askToBeTold(_ id: Int, _ state: inout State) {
    guard id != 0, let queue = state.submissionQueues[id], state.shadowDoorbells != nil else { return }
    _ = state.port?.writeWord(UInt32(queue.tail), at: IOVA(state.eventIndices + UInt64(8 * id)))
  }

  // MARK: Events and errors

  /// Ends an asynchronous event request, where the event's kind was looked at.
  ///
  /// Where there is no request it waits for one, once for each kind (NVM Express Base Specification 2.0, 5.2).
  func tell(_ event: UInt32, _ state: inout State) {
    guard !state.maskedEvents.contains(event & 7) else { return }
    guard let id = state.eventRequests.first else {
      if !state.waitingEvents.contains(where: { $0 & 7 == event & 7 }) { state.waitingEvents.append(event) }
      return
    }
    state.eventRequests.removeFirst()
    state.maskedEvents.insert(event & 7)
    post(Completion(id: id, queue: 0, result: event, status: .success), &state)
  }

  /// Takes a request for an event, which ends with what waits for one.
  func requestEvent(_ id: UInt16, _ state: inout State) {
    state.eventRequests.append(id)
    guard !state.waitingEvents.isEmpty else { return }
    tell(state.waitingEvents.removeFirst(), &state)
  }

  private func note(
    _ command: NVMeModelCommand, ofQueue id: Int, _ status: NVMeModelStatus, _ state: inout State
  ) {
    state.errorCount += 1
    var entry = NVMeModelPage(byteCount: 64)
    entry.put(state.errorCount, at: 0)
    entry.put(UInt16(id), at: 8)
    entry.put(command.id, at: 10)
    entry.put(status.rawValue << 1, at: 12)
    entry.put(command.block, at: 16)
    entry.put(command.namespaceID, at: 24)
    state.errors.insert(entry.bytes, at: 0)
    if state.errors.count > 16 { state.errors.removeLast() }
  }
}

/// An answer that is put together field by field.
struct NVMeModelPage {
  private(set) var bytes: [UInt8]

  init(byteCount: Int = 4096) { bytes = [UInt8](repeating: 0, count: byteCount) }

  mutating func put(_ value: some FixedWidthInteger & UnsignedInteger, at place: Int) {
    for byte in 0..<(value.bitWidth / 8) {
      bytes[place + byte] = UInt8(truncatingIfNeeded: value >> (8 * byte))
    }
  }

  mutating func put(_ text: String, at places: Range<Int>) {
    let padded = Array(text.utf8) + [UInt8](repeating: UInt8(ascii: " "), count: places.count)
    bytes.replaceSubrange(places, with: padded.prefix(places.count))
  }
}
