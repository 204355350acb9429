// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import LinuxHandles
internal import Synchronization
internal import Virtqueues

/// One queue and the thread that serves it.
///
/// The thread owns the queue; the control thread gives it orders and sees when they are obeyed. Every order makes the
/// thread let go of the queue and of all memory of the driver between two chains, and take them up anew where it may.
final class QueueWorker: Sendable {
  /// What the control thread wants.
  struct Target {
    var isRunning = false
    var isEnding = false
    /// Counts the starts, so that one that goes on is not taken for a new one.
    var startCount = 0
    /// Whether the queue was served before, by a process that is gone.
    var isRecovering = false
    /// Whether the kernel said in a message that the queue is ready.
    var isKnownReady = false
    var addressSpace = 0
    var features: UInt64 = 0
  }

  /// How serving ended.
  private enum Outcome {
    /// Another order came.
    case ordered
    /// The driver is not yet ready; ask again soon.
    case early
    /// Not before a reset.
    case broken
  }

  let index: Int
  private let served: ServedDevice
  private let iotlb: IOTLB
  private let kick: QueueKick
  private let target = Mutex(Target())
  private let ordered = Atomic<UInt64>(0)
  private let obeyed = Atomic<UInt64>(0)
  private let available = Atomic<UInt16>(0)

  init(_ index: Int, of served: ServedDevice, _ iotlb: IOTLB) throws(KernelError) {
    self.index = index
    self.served = served
    self.iotlb = iotlb
    kick = try QueueKick()
  }

  // MARK: For the control thread

  /// Changes what the thread is to do, or, with no change, has it let go of the driver's memory once.
  /// - Returns: The order's number, for ``hasObeyed(_:)``.
  @discardableResult
  func order(_ change: (inout Target) -> Void = { _ in }) -> UInt64 {
    target.withLock { change(&$0) }
    let number = ordered.add(1, ordering: .acquiringAndReleasing).newValue
    kick.wake()
    return number
  }

  /// Whether the thread has let go of what it had before an order.
  func hasObeyed(_ number: UInt64) -> Bool { obeyed.load(ordering: .acquiring) >= number }

  /// The next entry of the available ring.
  var availableIndex: UInt16 { available.load(ordering: .acquiring) }

  // MARK: The thread

  func run() {
    var startCount = 0
    var place: SplitQueueState?
    while true {
      let number = ordered.load(ordering: .acquiring)
      let target = target.withLock { $0 }
      obeyed.store(number, ordering: .releasing)
      served.news.wake()
      if target.isEnding { return }
      if target.startCount != startCount { (startCount, place) = (target.startCount, nil) }
      guard target.isRunning else {
        sleep(after: number)
        continue
      }
      switch serve(until: number, target, &place) {
      case .ordered: break
      case .early: if !isOrdered(after: number) { kick.wait(for: .milliseconds(2)) }
      case .broken: sleep(after: number)
      }
    }
  }

  private func isOrdered(after number: UInt64) -> Bool { ordered.load(ordering: .acquiring) != number }

  private func sleep(after number: UInt64) {
    while !isOrdered(after: number) { kick.wait() }
  }

  /// Takes the queue up, serves it until another order comes, and lets go of it.
  private func serve(until number: UInt64, _ target: Target, _ place: inout SplitQueueState?) -> Outcome {
    let memory = IOTLBCache(of: iotlb, addressSpace: target.addressSpace)
    do throws(KernelError) {
      // Kicks from before may be lost, and no harm is done: the ring is looked into first.
      try served.device.setKick(ofQueue: index, to: kick.descriptor)
      let info = try served.device.queueInfo(index)
      guard info.isReady || target.isKnownReady, let areas = QueueAreas(info, memory) else { return .early }
      return serve(areas, until: number, target, &place, info.state.availableIndex, memory)
    } catch {
      served.report("queue \(index): \(error)")
      return .broken
    }
  }

  private func serve(
    _ areas: QueueAreas, until number: UInt64, _ target: Target, _ place: inout SplitQueueState?,
    _ first: UInt16, _ memory: borrowing IOTLBCache
  ) -> Outcome {
    let used = SplitQueueDevice.publishedUsedIndex(of: areas.used)
    if place == nil {
      // Chains are given back in order, so that those after the used index are all that is left to do.
      let next = target.isRecovering ? used : first
      place = SplitQueueState(availableIndex: next, usedIndex: used)
      available.store(next, ordering: .releasing)
      if !target.isRecovering { served.log?.clear(queue: index) }
    }
    do throws(QueueError) {
      var queue = try SplitQueueDevice(
        size: areas.size, descriptors: areas.descriptors, available: areas.available, used: areas.used,
        features: QueueFeatures(rawValue: target.features), state: place ?? SplitQueueState())
      // Nobody knows whether the last interrupt was sent.
      try pump(&queue, until: number, memory, owingInterrupt: target.isRecovering)
      place = queue.state
      return .ordered
    } catch {
      served.report("queue \(index): the driver broke the ring: \(error); it needs a reset")
      return .broken
    }
  }

  /// The loop of a queue: chain after chain, in order, until another order comes.
  private func pump(
    _ queue: inout SplitQueueDevice, until number: UInt64, _ memory: borrowing IOTLBCache,
    owingInterrupt: Bool
  ) throws(QueueError) {
    var interrupt = InterruptDebt(isOwed: owingInterrupt)
    queue.disarmKicks()
    while !isOrdered(after: number) {
      guard let chain = try queue.take(through: memory) else {
        interrupt.pay(served.device, index)
        if !queue.armKicks() { continue }
        if interrupt.isOwed { kick.wait(for: .milliseconds(1)) } else { kick.wait() }
        queue.disarmKicks()
        continue
      }
      let written = serve(chain, of: queue, memory)
      queue.complete(chain, writtenByteCount: written)
      if queue.publish() { interrupt.add() }
      available.store(queue.state.availableIndex, ordering: .releasing)
      if interrupt.isOverdue { interrupt.pay(served.device, index) }
    }
    interrupt.pay(served.device, index)
  }

  /// Does what a chain asks, unless the log says that a process before this one did.
  private func serve(
    _ chain: QueueChain, of queue: borrowing SplitQueueDevice, _ memory: borrowing IOTLBCache
  ) -> UInt32 {
    guard let log = served.log else { return served.service.serve(chain, of: queue, in: memory) }
    let place = queue.state.availableIndex &- 1
    if let last = log.last(ofQueue: index), last.place == place, last.head == chain.id {
      return min(last.writtenByteCount, chain.writableByteCount)
    }
    let written = served.service.serve(chain, of: queue, in: memory)
    log.note(
      InFlightLog.Entry(place: place, head: chain.id, writtenByteCount: written), ofQueue: index)
    return written
  }
}

/// Where the parts of a split ring are in this process.
private struct QueueAreas {
  let size: Int
  let descriptors: RingArea
  let available: RingArea
  let used: RingArea

  /// Nil where the driver's numbers are no ring, or not yet: they may be on their way.
  init?(_ info: VDUSEQueueInfo, _ memory: borrowing IOTLBCache) {
    guard SplitRingLayout.isValid(size: info.size) else { return nil }
    func area(_ start: IOVA, _ byteCount: Int, writable: Bool) -> RingArea? {
      guard let bytes = unsafe memory.bytes(at: start, byteCount: byteCount, writable: writable) else {
        return nil
      }
      return unsafe RingArea(unsafeStart: bytes, byteCount: byteCount)
    }
    size = info.size
    guard
      let descriptors = area(
        info.descriptors, SplitRingLayout.descriptorByteCount(size: size), writable: false),
      let available = area(info.driverArea, SplitRingLayout.availableByteCount(size: size), writable: false),
      let used = area(info.deviceArea, SplitRingLayout.usedByteCount(size: size), writable: true)
    else { return nil }
    (self.descriptors, self.available, self.used) = (descriptors, available, used)
  }
}

/// An interrupt that the driver waits for; several chains share one.
private struct InterruptDebt {
  private(set) var isOwed: Bool
  private var since = ContinuousClock.now

  init(isOwed: Bool) { self.isOwed = isOwed }

  mutating func add() {
    if isOwed { return }
    isOwed = true
    since = .now
  }

  /// While there is more to do, a driver waits no longer than this for what is done: about the cost of ten interrupts.
  var isOverdue: Bool { isOwed && ContinuousClock.now - since > .microseconds(100) }

  /// It stays owed where the kernel refuses: before it has noted that the driver is ready.
  mutating func pay(_ device: borrowing VDUSEDevice, _ index: Int) {
    guard isOwed else { return }
    isOwed = (try? device.interruptQueue(index)) == nil
  }
}
