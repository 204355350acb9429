// SPDX-License-Identifier: Apache-2.0
internal import DMACore

extension NVMeModel {
  /// Does a command of the admin queue.
  func doAdmin(_ command: NVMeModelCommand, _ state: inout State) {
    if state.misbehaviour == .deafAdmin, [0x00, 0x01, 0x04, 0x05].contains(command.opcode) { return }
    // The only one that is not over soon.
    if command.opcode == 0x0c {
      guard state.eventRequests.count < Self.eventRequestCount else {
        return complete(command, ofQueue: 0, .tooManyEventRequests, &state)
      }
      return requestEvent(command.id, &state)
    }
    do throws(NVMeModelStatus) {
      let result = try answer(command, &state)
      complete(command, ofQueue: 0, result: result, &state)
    } catch {
      complete(command, ofQueue: 0, error, &state)
    }
  }

  /// Whether doorbells may lie in the driver's memory.
  ///
  /// There would have to be a second look at them after each time that the driver is asked to write the register; a
  /// thread that looks at registers anyway does not need them.
  private var offersDoorbellBuffer: Bool { options.hasDoorbellBuffer && doorbells == nil }

  static var eventRequestCount: Int { 4 }

  private func answer(
    _ command: NVMeModelCommand, _ state: inout State
  ) throws(NVMeModelStatus) -> UInt32 {
    switch command.opcode {
    case 0x00: try deleteSubmissionQueue(command, &state)
    case 0x01: try createSubmissionQueue(command, &state)
    case 0x02: try sendLog(command, &state)
    case 0x04: try deleteCompletionQueue(command, &state)
    case 0x05: try createCompletionQueue(command, &state)
    case 0x06: try send(identify(command, state), command, state)
    case 0x08: return abort(command, &state)
    case 0x09: return setFeature(command, &state)
    case 0x0a: return feature(UInt8(truncatingIfNeeded: command.word10), state)
    case 0x7c where offersDoorbellBuffer:
      guard command.data1 & 4095 == 0, command.data2 & 4095 == 0 else { throw .invalidField }
      (state.shadowDoorbells, state.eventIndices) = (command.data1, command.data2)
    case 0x80: try format(command, &state)
    default: throw .invalidOpcode
    }
    return 0
  }

  private func send(
    _ bytes: [UInt8], _ command: NVMeModelCommand, _ state: State
  ) throws(NVMeModelStatus) {
    guard let port = state.port else { throw .transferError }
    var place = 0
    for piece in try NVMeDataWalk(command, bytes.count, through: port).pieces {
      let part = Array(bytes[place..<(place + piece.byteCount)])
      guard unsafe port.writeMemory(part.span.bytes, at: piece.iova) else { throw .transferError }
      place += piece.byteCount
    }
  }

  // MARK: Queues

  private func createCompletionQueue(
    _ command: NVMeModelCommand, _ state: inout State
  ) throws(NVMeModelStatus) {
    let (id, entryCount) = try queue(command)
    guard state.completionQueues[id] == nil else { throw .invalidQueueID }
    let vector = command.word11 & 2 == 0 ? nil : Int(command.word11 >> 16)
    guard vector ?? 0 <= options.queuePairCount else { throw .invalidVector }
    doorbells?.clear(number: 2 * id + 1)
    state.completionQueues[id] = CompletionQueue(
      address: command.data1, entryCount: entryCount, vector: vector)
  }

  private func createSubmissionQueue(
    _ command: NVMeModelCommand, _ state: inout State
  ) throws(NVMeModelStatus) {
    let (id, entryCount) = try queue(command)
    guard state.submissionQueues[id] == nil else { throw .invalidQueueID }
    let completionQueue = Int(command.word11 >> 16)
    guard completionQueue != 0, state.completionQueues[completionQueue] != nil else {
      throw .invalidCompletionQueue
    }
    doorbells?.clear(number: 2 * id)
    state.submissionQueues[id] = SubmissionQueue(
      address: command.data1, entryCount: entryCount, completionQueue: completionQueue)
  }

  private func queue(_ command: NVMeModelCommand) throws(NVMeModelStatus) -> (id: Int, entryCount: Int) {
    let (id, entryCount) = (Int(command.word10 & 0xffff), Int(command.word10 >> 16) + 1)
    guard id >= 1, id <= options.queuePairCount else { throw .invalidQueueID }
    guard entryCount >= 2, entryCount <= options.entryCount else { throw .invalidQueueSize }
    guard command.data1 & 4095 == 0, command.word11 & 1 != 0 else { throw .invalidField }
    return (id, entryCount)
  }

  private func deleteSubmissionQueue(
    _ command: NVMeModelCommand, _ state: inout State
  ) throws(NVMeModelStatus) {
    let id = Int(command.word10 & 0xffff)
    guard id != 0, state.submissionQueues[id] != nil else { throw .invalidQueueID }
    for held in state.held.removeValue(forKey: id) ?? [] {
      complete(held, ofQueue: id, .abortedWithQueue, &state)
    }
    state.submissionQueues[id] = nil
  }

  private func deleteCompletionQueue(
    _ command: NVMeModelCommand, _ state: inout State
  ) throws(NVMeModelStatus) {
    let id = Int(command.word10 & 0xffff)
    guard id != 0, state.completionQueues[id] != nil else { throw .invalidQueueID }
    guard !state.submissionQueues.contains(where: { $0.completionQueue == id }) else {
      throw .invalidQueueDeletion
    }
    state.completionQueues[id] = nil
  }

  /// - Returns: 0 where the command was given up, 1 where not.
  private func abort(_ command: NVMeModelCommand, _ state: inout State) -> UInt32 {
    let (queue, id) = (Int(command.word10 & 0xffff), UInt16(command.word10 >> 16))
    guard state.misbehaviour != .forgetsCommands,
      let place = state.held[queue]?.firstIndex(where: { $0.id == id }),
      let held = state.held[queue]?.remove(at: place)
    else { return 1 }
    complete(held, ofQueue: queue, .abortRequested, &state)
    return 0
  }

  // MARK: Features

  private func feature(_ id: UInt8, _ state: State) -> UInt32 {
    if id == 0x07 { return UInt32(options.queuePairCount - 1) << 16 | UInt32(options.queuePairCount - 1) }
    return state.features[id] ?? (id == 0x04 ? 343 : 0)
  }

  private func setFeature(_ command: NVMeModelCommand, _ state: inout State) -> UInt32 {
    let id = UInt8(truncatingIfNeeded: command.word10)
    guard id != 0x07 else { return feature(id, state) }
    state.features[id] = command.word11
    return 0
  }

  // MARK: Identify

  private func identify(_ command: NVMeModelCommand, _ state: State) throws(NVMeModelStatus) -> [UInt8] {
    switch command.word10 & 0xff {
    case 0:
      guard command.namespaceID >= 1, command.namespaceID <= state.namespaces.count else {
        throw .invalidNamespace
      }
      return identity(of: state.namespaces[Int(command.namespaceID) - 1])
    case 1: return identity(state)
    case 2:
      var page = NVMeModelPage()
      let ids = state.namespaces.indices.filter { state.namespaces[$0].isActive }.map { UInt32($0 + 1) }
      for (index, id) in ids.filter({ $0 > command.namespaceID }).prefix(1024).enumerated() {
        page.put(id, at: 4 * index)
      }
      return page.bytes
    default: throw .invalidField
    }
  }

  private func identity(_ state: State) -> [UInt8] {
    var page = NVMeModelPage()
    page.put(UInt16(0x1b36), at: 0)
    page.put(UInt16(0x1af4), at: 2)
    page.put("SIMULATED1", at: 4..<24)
    page.put("swift-vfio simulated NVMe", at: 24..<64)
    page.put("1.0", at: 64..<72)
    page.put(UInt8(options.transferShift), at: 77)
    page.put(UInt32(0x0001_0400), at: 80)
    page.put(UInt16(1 << 1 | (offersDoorbellBuffer ? 1 << 8 : 0)), at: 256)
    page.put(UInt8(3), at: 258)
    page.put(UInt8(Self.eventRequestCount - 1), at: 259)
    page.put(UInt8(0x66), at: 512)
    page.put(UInt8(0x44), at: 513)
    page.put(UInt32(state.namespaces.count), at: 516)
    page.put(UInt16(1 << 0 | 1 << 2 | 1 << 3), at: 520)
    page.put(UInt8(1), at: 525)
    page.put(UInt32(options.hasScatterGatherLists ? 1 : 0), at: 536)
    return page.bytes
  }

  private static let shifts = [9, 12]

  private func identity(of namespace: Namespace) -> [UInt8] {
    var page = NVMeModelPage()
    guard namespace.isActive else { return page.bytes }
    for place in [0, 8, 16] { page.put(namespace.blockCount, at: place) }
    page.put(UInt8(Self.shifts.count - 1), at: 25)
    page.put(UInt8(namespace.shift == 9 ? 0 : 1), at: 26)
    for (format, shift) in Self.shifts.enumerated() { page.put(UInt8(shift), at: 128 + 4 * format + 2) }
    return page.bytes
  }

  /// All of a namespace is zero afterwards.
  private func format(_ command: NVMeModelCommand, _ state: inout State) throws(NVMeModelStatus) {
    _ = try activeNamespace(command.namespaceID, state)
    let format = Int(command.word10 & 0xf)
    guard format < Self.shifts.count else { throw .invalidFormat }
    let index = Int(command.namespaceID) - 1
    state.namespaces[index].shift = Self.shifts[format]
    state.namespaces[index].store.clear(0, Int(state.namespaces[index].byteCount))
  }

  // MARK: Log pages

  private func sendLog(_ command: NVMeModelCommand, _ state: inout State) throws(NVMeModelStatus) {
    let byteCount = 4 * (Int(command.word10 >> 16) + 1)
    guard byteCount <= 4096 else { throw .invalidField }
    var page = NVMeModelPage()
    switch command.word10 & 0xff {
    case 1:
      let entries = state.errors.flatMap { $0 }
      for (place, byte) in entries.enumerated() { page.put(byte, at: place) }
      state.maskedEvents.remove(0)
    case 2:
      page.put(UInt16(300), at: 1)
      page.put(UInt8(100), at: 3)
      let counts = state.counts
      page.put((counts.unitsRead + 999) / 1000, at: 32)
      page.put((counts.unitsWritten + 999) / 1000, at: 48)
      page.put(counts.reads, at: 64)
      page.put(counts.writes, at: 80)
      page.put(state.errorCount, at: 176)
      state.maskedEvents.remove(1)
    case 3, 4: state.maskedEvents.remove(2)
    default: throw .invalidLogPage
    }
    try send(Array(page.bytes.prefix(byteCount)), command, state)
  }
}
