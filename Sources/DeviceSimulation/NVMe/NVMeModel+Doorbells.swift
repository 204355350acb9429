// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LinuxHandles
internal import Synchronization

/// The controller's own thread, where it has one.
extension NVMeModel {
  /// Starts the thread, where there is to be one.
  func startPolling(through port: any DevicePort) throws(KernelError) {
    guard let doorbells else { return }
    doorbells.isEnding.store(false, ordering: .relaxed)
    try thread.withLock { thread throws(KernelError) in
      precondition(thread == nil, "a model is in one function at a time")
      // It holds the model, until detach() ends it.
      thread = try OwnedThread { [self] in poll(doorbells, through: port) }
    }
  }

  /// Ends the thread, and waits for its end.
  func stopPolling() {
    doorbells?.isEnding.store(true, ordering: .relaxed)
    let ended = thread.withLock { $0.take() }
    _ = consume ended
  }

  /// How often it looks without seeing anything before it lets others have the processor: about a microsecond.
  private static var busyLookCount: Int { 100 }
  /// How often it looks before it sleeps between two looks: about a millisecond.
  private static var lookCount: Int { 3000 }

  private func poll(_ doorbells: NVMeDoorbells, through port: any DevicePort) {
    let pairCount = options.queuePairCount + 1
    var idleCount = 0
    while !doorbells.isEnding.load(ordering: .relaxed) {
      var lookedAt = pairCount
      if doorbells.haveNews(pairCount: pairCount) {
        idleCount = 0
      } else if idleCount < Self.lookCount {
        idleCount += 1
        if idleCount > Self.busyLookCount { sched_yield() }
        continue
      } else {
        usleep(50)
        // There is time for doorbells that no queue has.
        lookedAt = NVMeDoorbells.pairCount
      }
      guard port.takeTurn({ takeDoorbells(doorbells, pairCount: lookedAt) }) else { return }
    }
  }

  private func takeDoorbells(_ doorbells: NVMeDoorbells, pairCount: Int) {
    state.withLock { state in
      doorbells.takeNews(pairCount: pairCount) { takeDoorbell($0.number, $0.value, &state) }
    }
  }
}
