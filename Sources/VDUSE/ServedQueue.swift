// SPDX-License-Identifier: Apache-2.0
internal import DMACore
public import Virtqueues

/// A queue as a service sees it: split or packed, its chains, and the memory that they lie in.
///
/// It notes what is done for a server after this one, and tells the driver in time.
public struct ServedQueue: ~Copyable {
  /// Which one of the device's it is.
  public let index: Int
  /// How many entries its ring has.
  public let size: Int
  /// What the driver chose.
  public let features: UInt64
  /// Finds the driver's memory; what it gives out is valid until ``VirtioService/serve(_:)`` returns.
  public let memory: IOTLBCache
  private var ring: QueueRing
  private let orders: QueueOrders
  /// The order that is being obeyed: with a newer one, no chain is taken any more.
  private let order: UInt64
  private let log: InFlightLog?
  private let interrupt: () -> Bool
  private var debt: InterruptDebt
  // Both count chains modulo 2^16.
  private var takenCount: UInt16
  private var completedCount: UInt16
  /// Those in flight, by their number modulo a power of two.
  private var inFlight: [UInt16]
  /// How many chains, from the next one on, the service saw and gave back.
  private var returnedCount = 0

  /// Begins, or goes on, with a ring.
  /// - Parameters:
  ///   - place: With nothing in flight, but for what ``replay(_:)`` is given.
  ///   - interrupt: Sends the driver an interrupt; says whether that was done.
  /// - Throws: What is wrong with the ring.
  package init(
    _ index: Int, _ areas: QueueAreas, at place: QueuePlace, features: UInt64,
    _ memory: consuming IOTLBCache, _ orders: QueueOrders, order: UInt64, _ log: InFlightLog?,
    owesInterrupt: Bool, interrupt: @escaping () -> Bool
  ) throws(QueueError) {
    ring = try QueueRing(areas, features: features, state: place.state)
    (self.index, size, self.features) = (index, areas.size, features)
    self.memory = memory
    (self.orders, self.order, self.log, self.interrupt) = (orders, order, log, interrupt)
    debt = InterruptDebt(isOwed: owesInterrupt)
    (takenCount, completedCount) = (place.chainCount, place.chainCount)
    var capacity = 1
    while capacity < areas.size { capacity *= 2 }
    inFlight = .init(repeating: 0, count: capacity)
  }

  // MARK: For a service

  /// Rung by the driver's kicks; a service may ring it too, from any thread.
  public var bell: QueueBell { orders.bell }

  /// Takes the next chain that the driver made available.
  ///
  /// Its pieces are there for ``segment(_:)`` until the next chain is taken.
  /// - Returns: Nil when nothing is available, or the thread is wanted elsewhere.
  /// - Throws: What the driver did wrong; the service throws it on.
  public mutating func take() throws(QueueError) -> QueueChain? {
    guard orders.newest == order, let chain = try ring.take(through: memory) else { return nil }
    inFlight[Int(takenCount) & (inFlight.count - 1)] = chain.id
    takenCount &+= 1
    if returnedCount > 0 { returnedCount -= 1 }
    return chain
  }

  /// A piece of the chain that was taken last.
  /// - Parameter index: Below its ``Virtqueues/QueueChain/segmentCount``.
  public func segment(_ index: Int) -> QueueSegment { ring.segment(index) }

  /// Makes as if the chain that was taken last had not been: the next one taken is in its place.
  ///
  /// Several are given back from the last to the first.
  public mutating func undoTake(_ chain: QueueChain) {
    precondition(
      inFlight[Int(takenCount &- 1) & (inFlight.count - 1)] == chain.id, "the chain that was taken last")
    ring.undoTake(chain)
    takenCount &-= 1
    returnedCount += 1
  }

  /// Ends a chain: the earliest one that was taken and is not complete.
  ///
  /// The driver sees it after ``publish()``.
  /// - Parameter writtenByteCount: How many bytes were written, from the first writable one on without a gap.
  public mutating func complete(_ chain: QueueChain, writtenByteCount: UInt32) {
    precondition(
      takenCount != completedCount && inFlight[Int(completedCount) & (inFlight.count - 1)] == chain.id,
      "chains are completed in the order in which they were taken")
    log?.note(
      InFlightLog.Entry(
        place: completedCount, id: chain.id, slotCount: chain.slotCount, writtenByteCount: writtenByteCount),
      ofQueue: index)
    ring.complete(chain, writtenByteCount: writtenByteCount)
    completedCount &+= 1
  }

  /// Shows the driver what was completed: all of it at once.
  ///
  /// What is not shown when the service returns is shown then.
  public mutating func publish() {
    if ring.publish() { debt.add() }
    if ring.isPacked { log?.notePublished(place, ofQueue: index) }
    orders.note(ring.state, isPacked: ring.isPacked)
    if debt.isOverdue { debt.pay(interrupt) }
  }

  // MARK: For the queue's thread

  /// Where to go on, with nothing in flight.
  package var place: QueuePlace { QueuePlace(ring.state, chainCount: completedCount) }

  /// Calls a service once; what it did is shown to the driver, who is told of it.
  package mutating func serve(by service: any VirtioService) throws(QueueError) -> ServiceNeed {
    returnedCount = 0
    let need = try service.serve(&self)
    precondition(
      takenCount == completedCount, "a service completes what it takes, or gives it back to the queue")
    publish()
    debt.pay(interrupt)
    return need
  }

  /// Whether the driver has still to be told of something, which the kernel did not take.
  var owesInterrupt: Bool { debt.isOwed }

  mutating func disarmKicks() { ring.disarmKicks() }

  /// Asks for a kick for chains beyond those that the service saw.
  /// - Returns: False where there are some already.
  package mutating func armKicks() throws(QueueError) -> Bool {
    // Those that it gave back are not enough for it: they are passed once more, so that the kick is for what comes then.
    var passed: [QueueChain] = []
    while passed.count < returnedCount, let chain = try ring.take(through: memory) { passed.append(chain) }
    let isArmed = ring.armKicks()
    for chain in passed.reversed() { ring.undoTake(chain) }
    return isArmed
  }

  // MARK: After a process that is gone

  /// Gives back what that process did and did not give back.
  /// - Parameter done: Of a packed ring, whose descriptors may be overwritten; of a split one the log says it.
  package mutating func replay(_ done: [InFlightLog.Entry]) throws(QueueError) {
    for entry in done {
      let chain = QueueChain(
        id: entry.id, slotCount: entry.slotCount, segmentCount: 0, readableSegmentCount: 0,
        readableByteCount: 0, writableByteCount: entry.writtenByteCount)
      try ring.resume(chain)
      ring.complete(chain, writtenByteCount: entry.writtenByteCount)
    }
    while !ring.isPacked, let entry = log?.entry(at: takenCount, ofQueue: index) {
      guard let chain = try ring.take(through: memory) else { break }
      guard chain.id == entry.id else {
        ring.undoTake(chain)
        break
      }
      ring.complete(chain, writtenByteCount: min(entry.writtenByteCount, chain.writableByteCount))
      (takenCount, completedCount) = (takenCount &+ 1, completedCount &+ 1)
    }
    publish()
  }
}
