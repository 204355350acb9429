// SPDX-License-Identifier: Apache-2.0
internal import Virtqueues

/// Where to begin with a queue.
package struct QueueStart {
  package let place: QueuePlace
  /// Whether a process before this one served it: nobody knows whether its last interrupt was sent.
  package var isRecovering = false
  /// What that one did, and the driver was not shown: of a packed ring.
  ///
  /// Of a split one ``ServedQueue/replay(_:)`` looks.
  package var done: [InFlightLog.Entry] = []

  /// Goes on with a queue that this process let go of.
  init(place: QueuePlace) { self.place = place }

  /// Begins with a queue that this process has not served since its driver started it; unless it is recovered, its log too
  /// begins anew.
  /// - Parameters:
  ///   - state: What the driver set.
  ///   - log: Of the process before this one, where the queue is recovered.
  /// - Returns: Nil where only a log could tell, and it does not.
  package init?(
    ofQueue index: Int, _ areas: QueueAreas, _ state: VDUSEQueueState, _ log: InFlightLog?,
    isRecovering: Bool
  ) {
    if isRecovering, !areas.isPacked {
      // Chains are given back in order, so that those after the used index are all that is left to do.
      let used = SplitQueueDevice.publishedUsedIndex(of: areas.device)
      self.init(place: QueuePlace(availableIndex: used, usedIndex: used))
      self.isRecovering = true
      return
    }
    if isRecovering {
      // A log that is complete and does not know the queue: it was never served.
      guard let log, log.isComplete || log.published(ofQueue: index) != nil else { return nil }
      if let published = log.published(ofQueue: index) {
        guard let recovery = PackedRecovery(from: published, log, ofQueue: index, areas) else { return nil }
        self.init(place: recovery.place)
        (self.isRecovering, done) = (true, recovery.done)
        return
      }
    }
    let place =
      areas.isPacked
      ? QueuePlace(state, chainCount: 0)
      : QueuePlace(
        availableIndex: state.availableIndex,
        usedIndex: SplitQueueDevice.publishedUsedIndex(of: areas.device))
    log?.clear(queue: index)
    if areas.isPacked { log?.notePublished(place, ofQueue: index) }
    self.init(place: place)
  }
}

/// How a packed ring is to go on that a process before this one served.
///
/// Between two publications the ring may show what is not noted yet, and the log what is not shown yet: what was done in
/// order, and noted, is either. Only chains that are in the log are passed over, and only those are given back unread.
struct PackedRecovery {
  /// Where the ring is, as the driver sees it.
  private(set) var place: QueuePlace
  /// The chains from there on that were done, and which the driver was not shown.
  private(set) var done: [InFlightLog.Entry] = []

  /// - Parameter published: Where the ring was when that was last noted.
  /// - Returns: Nil where the log makes no sense.
  init?(from published: QueuePlace, _ log: InFlightLog, ofQueue index: Int, _ areas: QueueAreas) {
    guard published.state.usedIndex < areas.size else { return nil }
    place = published
    var slotCount = 0
    while let entry = log.entry(at: place.chainCount, ofQueue: index) {
      let state = place.state
      if PackedQueueDevice.isAvailable(at: state.usedIndex, wrap: state.usedWrap, in: areas.descriptors) {
        break
      }
      slotCount += Int(entry.slotCount)
      guard slotCount <= areas.size else { return nil }
      place = Self.advance(place, past: entry, areas.size)
    }
    var end = place
    slotCount = 0
    while let entry = log.entry(at: end.chainCount, ofQueue: index) {
      slotCount += Int(entry.slotCount)
      guard slotCount <= areas.size, done.count < areas.size else { return nil }
      done.append(entry)
      end = Self.advance(end, past: entry, areas.size)
    }
    place.state.availableIndex = end.state.usedIndex
    place.state.availableWrap = end.state.usedWrap
    place.chainCount = end.chainCount
  }

  private static func advance(
    _ place: QueuePlace, past entry: InFlightLog.Entry, _ size: Int
  ) -> QueuePlace {
    let next = Int(place.state.usedIndex) + Int(entry.slotCount)
    return QueuePlace(
      packedIndex: UInt16(truncatingIfNeeded: next % size), wrap: place.state.usedWrap != (next >= size),
      chainCount: place.chainCount &+ 1)
  }
}
