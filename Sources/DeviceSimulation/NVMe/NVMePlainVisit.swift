// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DeviceRegisters
internal import Synchronization

/// One visit of the controller to an I/O queue, to do the plain commands at its head.
///
/// Plain are reads and writes of blocks that are there, with data in one page or two, in memory that the controller
/// may reach. The first command that is not stays in the queue with those behind it: nothing of it was done, and
/// whoever knows all the rules goes on from there. Nothing here allocates, and no command takes a lock.
struct NVMePlainVisit {
  private let id: Int
  private(set) var submissions: NVMeModel.SubmissionQueue
  private(set) var completions: NVMeModel.CompletionQueue
  private(set) var counts: NVMeModel.Counts
  /// How many commands were done.
  private(set) var doneCount = 0
  private let namespaces: [NVMeModel.Namespace]
  /// The namespace of the last command.
  private var blocks = Blocks()
  /// In bytes.
  private let longestTransfer: Int

  /// Commands are taken, done and completed by so many: the driver has one group while the controller does the next,
  /// and cache lines change hands whole, each of which has four completions.
  @inline(__always) private static var groupCount: Int { 16 }

  /// - Parameter id: Of the submission queue.
  init(
    toQueue id: Int, _ submissions: NVMeModel.SubmissionQueue, _ completions: NVMeModel.CompletionQueue,
    _ namespaces: [NVMeModel.Namespace], _ counts: NVMeModel.Counts, longestTransfer: Int
  ) {
    self.id = id
    self.submissions = submissions
    self.completions = completions
    self.namespaces = namespaces
    self.counts = counts
    self.longestTransfer = longestTransfer
  }

  /// Does what is to be done.
  mutating func run(_ reach: inout DeviceReach) {
    let (entryCount, placeCount) = (submissions.entryCount, completions.entryCount)
    // SAFETY: memory of the address space, which stays as long as the reach is lent.
    guard
      let entries = unsafe reach.place(
        of: IOVA(submissions.address), byteCount: entryCount * 64, for: .read),
      let places = unsafe reach.place(
        of: IOVA(completions.address), byteCount: placeCount * 16, for: .write)
    else { return }
    unsafe withUnsafeTemporaryAllocation(of: NVMeModelCommand.self, capacity: Self.groupCount) { group in
      while true {
        let count = min(submissions.newCount, completions.freeCount, Self.groupCount)
        var place = submissions.head
        for index in 0..<count {
          unsafe group.initializeElement(at: index, to: NVMeModelCommand(loading: entries + place * 64))
          place += 1
          if place == entryCount { place = 0 }
        }
        var done = 0
        while done < count, unsafe move(group[done], &reach) { done += 1 }
        for index in 0..<done { unsafe complete(group[index], at: places) }
        doneCount += done
        if done < count || count == 0 { return }
      }
    }
  }

  // MARK: Data

  /// Where a namespace lies, for those that have checked a range of it.
  @safe
  private struct Blocks: @unchecked Sendable {
    var namespaceID: UInt32 = 0
    var base: UnsafeMutableRawPointer?
    var shift = 0
    var count: UInt64 = 0
  }

  /// Looks up a command's namespace.
  private mutating func find(_ namespaceID: UInt32) -> Bool {
    guard namespaceID >= 1, namespaceID <= namespaces.count else { return false }
    let namespace = namespaces[Int(namespaceID) - 1]
    guard namespace.isActive else { return false }
    // SAFETY: `namespaces` keeps the store.
    unsafe blocks = Blocks(
      namespaceID: namespaceID, base: namespace.store.baseAddress, shift: namespace.shift,
      count: namespace.blockCount)
    return true
  }

  /// Moves a command's data.
  /// - Returns: False where the command is not plain.
  @inline(__always)
  private mutating func move(_ command: NVMeModelCommand, _ reach: inout DeviceReach) -> Bool {
    guard command.opcode == 0x01 || command.opcode == 0x02, !command.usesDescriptors,
      command.namespaceID == blocks.namespaceID || find(command.namespaceID),
      let base = unsafe blocks.base,
      command.blockCount <= blocks.count, command.block <= blocks.count - command.blockCount
    else { return false }
    let byteCount = Int(command.blockCount) << blocks.shift
    let first = min(byteCount, 4096 - Int(command.data1 & 4095))
    let second = byteCount - first
    guard byteCount <= longestTransfer, command.data1 & 3 == 0, second <= 4096,
      second == 0 || command.data2 & 4095 == 0
    else { return false }
    // Both pages are looked up before a byte is moved.
    let isRead = command.opcode == 0x02
    let access: DMAAccess = isRead ? .write : .read
    guard let page = unsafe reach.place(of: IOVA(command.data1), byteCount: first, for: access) else {
      return false
    }
    var nextPage = unsafe page
    if second > 0 {
      guard let place = unsafe reach.place(of: IOVA(command.data2), byteCount: second, for: access) else {
        return false
      }
      unsafe nextPage = place
    }
    // SAFETY: the range is inside the namespace, and the pages are mapped; no one looks at the data before
    // the completion, so that they need not be moved word by word.
    let start = unsafe base + Int(command.block) << blocks.shift
    let units = command.blockCount << UInt64(blocks.shift - 9)
    if isRead {
      unsafe page.copyMemory(from: start, byteCount: first)
      if second > 0 { unsafe nextPage.copyMemory(from: start + first, byteCount: second) }
      counts.reads += 1
      counts.unitsRead += units
    } else {
      unsafe start.copyMemory(from: page, byteCount: first)
      if second > 0 { unsafe (start + first).copyMemory(from: nextPage, byteCount: second) }
      counts.writes += 1
      counts.unitsWritten += units
    }
    return true
  }

  // MARK: Completions

  @inline(__always)
  private mutating func complete(_ command: NVMeModelCommand, at places: UnsafeMutableRawPointer) {
    submissions.advance()
    // SAFETY: the tail is below the count of entries.
    let entry = unsafe places + completions.tail * 16
    unsafe UInt64.volatileStore(0, entry)
    // The word with the phase comes last.
    atomicMemoryFence(ordering: .releasing)
    unsafe UInt64.volatileStore(
      NVMeModel.completionWord(
        command.id, ofQueue: id, head: submissions.head, phase: completions.phase, .success), entry + 8)
    completions.advance()
  }
}

extension NVMeModel {
  /// Does the plain commands at the head of an I/O queue, as far as there are any.
  func doPlainCommands(_ id: Int, _ state: inout State) {
    guard state.misbehaviour == .none, state.injections.isEmpty, options.latency == .zero,
      !options.completesInReverse, let port = state.port, let submissions = state.submissionQueues[id],
      !isInBuffer(submissions.address, state),
      let completions = state.completionQueues[submissions.completionQueue], completions.waiting.isEmpty
    else { return }
    var visit = NVMePlainVisit(
      toQueue: id, submissions, completions, state.namespaces, state.counts,
      longestTransfer: options.longestTransfer)
    guard port.withReach({ visit.run(&$0) }), visit.doneCount > 0 else { return }
    state.submissionQueues[id] = visit.submissions
    state.completionQueues[submissions.completionQueue] = visit.completions
    state.counts = visit.counts
    if let vector = completions.vector { port.sendMessage(vector: vector) }
  }
}
