// SPDX-License-Identifier: Apache-2.0
public import DriverCore
internal import Glibc
internal import Synchronization

extension NVMeQueuePair {
  /// Whether no command is on its way.
  public var isIdle: Bool { resources.memory.tagsOnTheirWay.isEmpty }

  /// Waits until at least one completion has come, and takes all that have.
  /// - Returns: How many there were.
  /// - Throws: `NVMeError`: `.timedOut` at the deadline; `.removed`, `.deviceFault` (see ``poll()``) or `.wasReset`
  ///   where none can come any more. The commands are on their way as before.
  @discardableResult
  public mutating func wait(
    until deadline: Deadline, _ body: (NVMeCompletion) -> Void
  ) throws(NVMeError) -> Int {
    var tries: UInt32 = 0
    while true {
      let wasOver = deadline.isOver
      let count = try reap(body)
      if count > 0 { return count }
      tries &+= 1
      // Most commands are done before the first register is worth a look.
      if tries & 0x3ff == 0 || resources.vector != nil || wasOver { try checkLife() }
      if wasOver { throw NVMeError(.timedOut, "no completion on queue \(resources.id)") }
      if let vector = resources.vector {
        try sleep(on: vector, until: deadline)
      } else if tries > 100_000 {
        usleep(50)
      }
    }
  }

  /// The queue's own interrupt ends the sleep; a lost one only makes it longer, and does not end in a timeout.
  private func sleep(on vector: NVMeVector, until deadline: Deadline) throws(NVMeError) {
    do throws(DriverError) {
      _ = try vector.vector.wait(until: Deadline(min(deadline.remaining, .milliseconds(100))))
    } catch {
      guard error.code == .timedOut else { throw NVMeError(error) }
    }
  }

  /// - Throws: `NVMeError` where no completion can come any more.
  private func checkLife() throws(NVMeError) {
    guard let controller = resources.controller else { return }
    guard controller.life == resources.life.load(ordering: .relaxed) else {
      throw NVMeError(.wasReset, "queue \(resources.id) is gone; recover() makes it again")
    }
    try controller.admin.checkStatus()
  }

  /// Waits until no command is on its way.
  /// - Throws: As ``wait(until:_:)``.
  public mutating func drain(
    until deadline: Deadline, _ body: (NVMeCompletion) -> Void = { _ in }
  ) throws(NVMeError) {
    ring()
    while !isIdle { try wait(until: deadline, body) }
  }

  /// Gives up what does not end: asks the controller to abort the commands that are on their way, and resets it where
  /// that does not help.
  ///
  /// When it returns, with or without an error of another code than `.notStopped`, the controller does not reach the
  /// memory of these commands any more.
  /// - Returns: The tags of those that the reset ended, done or not; they may be issued again, see
  ///   ``NVMeOpcode/mayBeReissued``. Completions that came after all go to `body`.
  /// - Throws: `NVMeError`: `.notStopped`, or why the controller or the queue did not come back; ``recover()`` then.
  public mutating func abandon(
    waiting limit: Duration = .seconds(1), _ body: (NVMeCompletion) -> Void = { _ in }
  ) throws(NVMeError) -> [UInt64] {
    guard let controller = resources.controller else { return [] }
    do throws(NVMeError) {
      try checkLife()
      if resources.isBroken.load(ordering: .relaxed) { throw NVMeError(.deviceFault, "the queue is broken") }
      for id in resources.memory.idsOnTheirWay {
        _ = try controller.abort(commandID: id, ofQueue: resources.id)
      }
      try drain(until: Deadline(limit), body)
      return []
    } catch {
      // Another thread may have reset it already: then the commands are over, and only the queue is to be made.
      if controller.life == resources.life.load(ordering: .relaxed) || controller.admin.condition != .running
      {
        try controller.reset()
      }
      return try recover()
    }
  }

  /// Makes the queue pair again after a reset of the controller.
  /// - Returns: The tags of the commands that the reset ended, done or not; see ``NVMeOpcode/mayBeReissued``.
  /// - Throws: `NVMeError` for the commands that make the queues.
  @discardableResult
  public mutating func recover() throws(NVMeError) -> [UInt64] {
    guard let controller = resources.controller,
      controller.life != resources.life.load(ordering: .relaxed)
    else { return [] }
    let tags = resources.memory.tagsOnTheirWay
    clear()
    resources.isBroken.store(false, ordering: .relaxed)
    try controller.createQueues(resources)
    return tags
  }
}
