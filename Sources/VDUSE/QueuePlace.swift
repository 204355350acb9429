// SPDX-License-Identifier: Apache-2.0
internal import Virtqueues

/// How far a queue is between two chains.
package struct QueuePlace: Hashable, Sendable {
  /// Where the next chain is taken, and where it is given back; of a split queue without the wrap counters.
  var state: VDUSEQueueState
  /// How many chains were taken, modulo 2^16; of a split queue its available index.
  package var chainCount: UInt16

  package init(_ state: VDUSEQueueState, chainCount: UInt16) {
    (self.state, self.chainCount) = (state, chainCount)
  }

  /// A split ring, where these indices are the next ones.
  package init(availableIndex: UInt16, usedIndex: UInt16) {
    var state = VDUSEQueueState(availableIndex: availableIndex)
    state.usedIndex = usedIndex
    self.init(state, chainCount: availableIndex)
  }

  /// A packed ring with nothing in flight.
  init(packedIndex: UInt16, wrap: Bool, chainCount: UInt16) {
    let state = VDUSEQueueState(
      availableIndex: packedIndex, availableWrap: wrap, usedIndex: packedIndex, usedWrap: wrap)
    self.init(state, chainCount: chainCount)
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

  /// - Returns: Nil where the log does not tell where the ring is.
  init?(_ log: InFlightLog, ofQueue index: Int, _ areas: QueueAreas) {
    guard let published = log.published(ofQueue: index), published.state.usedIndex < areas.size else {
      return nil
    }
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
