// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import Virtqueues

/// The device's side of a ring, split or packed as the driver chose.
struct QueueRing: ~Copyable {
  let isPacked: Bool
  // One of the two is there.
  private var split: SplitQueueDevice?
  private var packed: PackedQueueDevice?

  init(_ areas: QueueAreas, features: UInt64, state: VDUSEQueueState) throws(QueueError) {
    let features = QueueFeatures(rawValue: features)
    isPacked = areas.isPacked
    if areas.isPacked {
      packed = try PackedQueueDevice(
        size: areas.size, descriptors: areas.descriptors, driverEvent: areas.driver,
        deviceEvent: areas.device, features: features,
        state: PackedQueueState(
          availableIndex: state.availableIndex, availableWrap: state.availableWrap,
          usedIndex: state.usedIndex, usedWrap: state.usedWrap))
    } else {
      split = try SplitQueueDevice(
        size: areas.size, descriptors: areas.descriptors, available: areas.driver, used: areas.device,
        features: features,
        state: SplitQueueState(availableIndex: state.availableIndex, usedIndex: state.usedIndex))
    }
  }

  /// Where the queue is, also of a split one.
  var state: VDUSEQueueState {
    switch split {
    case .some(let queue):
      let state = queue.state
      return VDUSEQueueState(
        availableIndex: state.availableIndex, availableWrap: false, usedIndex: state.usedIndex,
        usedWrap: false)
    case .none: break
    }
    switch packed {
    case .some(let queue):
      let state = queue.state
      return VDUSEQueueState(
        availableIndex: state.availableIndex, availableWrap: state.availableWrap,
        usedIndex: state.usedIndex, usedWrap: state.usedWrap)
    case .none: preconditionFailure("one of the two is there")
    }
  }

  mutating func take(through memory: borrowing IOTLBCache) throws(QueueError) -> QueueChain? {
    if isPacked { return try packed?.take(through: memory) }
    return try split?.take(through: memory)
  }

  func segment(_ index: Int) -> QueueSegment {
    switch split {
    case .some(let queue): return queue.segment(index)
    case .none: break
    }
    switch packed {
    case .some(let queue): return queue.segment(index)
    case .none: preconditionFailure("one of the two is there")
    }
  }

  mutating func undoTake(_ chain: QueueChain) {
    split?.undoTake(chain)
    packed?.undoTake(chain)
  }

  /// Makes a chain of a log one in flight again, in a packed ring, whose descriptors may be overwritten.
  mutating func resume(_ chain: QueueChain) throws(QueueError) { try packed?.resume(chain) }

  mutating func complete(_ chain: QueueChain, writtenByteCount: UInt32) {
    split?.complete(chain, writtenByteCount: writtenByteCount)
    packed?.complete(chain, writtenByteCount: writtenByteCount)
  }

  mutating func publish() -> Bool { (isPacked ? packed?.publish() : split?.publish()) == true }

  mutating func disarmKicks() {
    split?.disarmKicks()
    packed?.disarmKicks()
  }

  mutating func armKicks() -> Bool { (isPacked ? packed?.armKicks() : split?.armKicks()) == true }
}
