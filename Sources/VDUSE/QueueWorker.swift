// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import LinuxHandles
internal import Synchronization
internal import Virtqueues

/// One queue and the thread that serves it.
///
/// The thread owns the queue; the control thread gives it orders and sees when they are obeyed. Every order makes the
/// thread let go of the queue and of all memory of the driver between two calls of the service, and take them up anew where
/// it may.
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
  private let target = Mutex(Target())
  private let orders: QueueOrders

  init(_ index: Int, of served: ServedDevice, _ iotlb: IOTLB) throws(KernelError) {
    self.index = index
    self.served = served
    self.iotlb = iotlb
    orders = try QueueOrders()
  }

  // MARK: For the control thread

  /// Changes what the thread is to do, or, with no change, has it let go of the driver's memory once.
  /// - Returns: The order's number, for ``hasObeyed(_:)``.
  @discardableResult
  func order(_ change: (inout Target) -> Void = { _ in }) -> UInt64 {
    target.withLock { change(&$0) }
    return orders.give()
  }

  /// Whether the thread has let go of what it had before an order.
  func hasObeyed(_ number: UInt64) -> Bool { orders.isObeyed(number) }

  /// How far the queue is.
  var report: VDUSEQueueReport { orders.report(ofQueue: index) }

  // MARK: The thread

  func run() {
    var startCount = 0
    var place: QueuePlace?
    // Whether the service was told that the queue is used, and not yet that it no longer is.
    var hasBegun = false
    while true {
      let number = orders.newest
      let target = target.withLock { $0 }
      if hasBegun, !target.isRunning || target.isEnding || target.startCount != startCount {
        served.service.end(index)
        hasBegun = false
      }
      orders.obey(number)
      served.news.wake()
      if target.isEnding { return }
      if target.startCount != startCount { (startCount, place) = (target.startCount, nil) }
      guard target.isRunning else {
        sleep(after: number)
        continue
      }
      if !hasBegun { served.service.begin(index, features: target.features, bell: orders.bell) }
      hasBegun = true
      switch serve(until: number, target, &place) {
      case .ordered: break
      case .early: if orders.newest == number { orders.bell.wait(for: .milliseconds(2)) }
      case .broken:
        served.service.end(index)
        hasBegun = false
        sleep(after: number)
      }
    }
  }

  private func sleep(after number: UInt64) {
    while orders.newest == number { orders.bell.wait() }
  }

  /// Takes the queue up, serves it until another order comes, and lets go of it.
  private func serve(until number: UInt64, _ target: Target, _ place: inout QueuePlace?) -> Outcome {
    let memory = IOTLBCache(of: iotlb, addressSpace: target.addressSpace)
    do throws(KernelError) {
      // Kicks from before may be lost, and no harm is done: the ring is looked into first.
      try served.device.setKick(ofQueue: index, to: orders.bell.descriptor)
      let isPacked = target.features & VirtioFeature.packedRing != 0
      let info = try served.device.queueInfo(index, isPacked: isPacked)
      guard info.isReady || target.isKnownReady, let areas = QueueAreas(info, isPacked: isPacked, memory)
      else { return .early }
      let known = place.map { QueueStart(place: $0) }
      guard
        let start = known
          ?? QueueStart(
            ofQueue: index, areas, info.state, served.log, isRecovering: target.isRecovering)
      else {
        served.report(
          "queue \(index): the log of the server before does not tell where its packed ring is; it needs a reset"
        )
        return .broken
      }
      return serve(areas, from: start, until: number, target, &place, memory)
    } catch {
      served.report("queue \(index): \(error)")
      return .broken
    }
  }

  private func serve(
    _ areas: QueueAreas, from start: QueueStart, until number: UInt64, _ target: Target,
    _ place: inout QueuePlace?, _ memory: consuming IOTLBCache
  ) -> Outcome {
    do throws(QueueError) {
      // After a recovery nobody knows whether the last interrupt was sent.
      var queue = try ServedQueue(
        index, areas, at: start.place, features: target.features, memory, orders, order: number, served.log,
        owesInterrupt: start.isRecovering
      ) { (try? self.served.device.interruptQueue(self.index)) != nil }
      if start.isRecovering { try queue.replay(start.done) }
      try pump(&queue, until: number)
      place = queue.place
      return .ordered
    } catch {
      served.report("queue \(index): the driver broke the ring: \(error); it needs a reset")
      return .broken
    }
  }

  /// The loop of a queue: the service does what it can and the thread sleeps, until another order comes.
  private func pump(_ queue: inout ServedQueue, until number: UInt64) throws(QueueError) {
    queue.disarmKicks()
    while orders.newest == number {
      let need = try queue.serve(by: served.service)
      if need == .chains, try !queue.armKicks() { continue }
      if queue.owesInterrupt { orders.bell.wait(for: .milliseconds(1)) } else { orders.bell.wait() }
      if need == .chains { queue.disarmKicks() }
    }
  }
}
