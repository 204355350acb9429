// SPDX-License-Identifier: Apache-2.0

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
