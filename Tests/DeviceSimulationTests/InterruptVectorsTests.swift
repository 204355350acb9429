// SPDX-License-Identifier: Apache-2.0
import DeviceSimulation
import DriverCore
import LinuxHandles
import PCIBus
import Synchronization
import SystemPackage
import Testing

/// What drivers do with vectors, on a function with eight MSI-X, four MSI and a line.
@Suite struct InterruptVectorsTests {
  private static func probe() throws -> Probe {
    try Probe([
      .powerManagement, .msi(vectorCount: 4),
      .msix(vectorCount: 8, tableBAR: 0, tableOffset: 0, pendingBAR: 0, pendingOffset: 0x800),
    ])
  }

  @Test func aRangeKeepsItsNumbersAndHolesStaySilent() throws {
    let probe = try Self.probe()
    let vectors = try probe.function.armInterrupts(.msix, vectors: 2..<6, except: [4])
    #expect(vectors.indices == [2, 3, 5])
    let first = vectors.take(2)
    let last = vectors.take(5)
    for vector in 0..<8 { probe.port.sendMessage(vector: vector) }
    let counts = try (first.poll(), vectors.take(3).poll(), last.poll())
    #expect(counts == (1, 1, 1))
    #expect(last.index == 5)
  }

  @Test func vectorsAreAddedWhileOthersWork() throws {
    let probe = try Self.probe()
    let vectors = try probe.function.armInterrupts(.msix, vectors: 0..<2)
    let zero = vectors.take(0)
    probe.port.sendMessage(vector: 0)
    probe.port.sendMessage(vector: 5)  // lost
    try vectors.extend(by: 4..<8, except: [6])
    #expect(vectors.indices == [0, 1, 4, 5, 7])
    let five = vectors.take(5)
    for vector in [0, 5, 6, 7] { probe.port.sendMessage(vector: vector) }
    let counts = try (zero.poll(), five.poll(), vectors.take(7).poll())
    #expect(counts == (2, 1, 1))
    try five.close()
    probe.port.sendMessage(vector: 5)
    try vectors.extend(by: 5..<6)
    let again = vectors.take(5)
    let lost = try again.poll()
    #expect(lost == 0)
    probe.port.sendMessage(vector: 5)
    let seen = try again.poll()
    #expect(seen == 1)
    let tooMany = #expect(throws: DriverError.self) { try vectors.extend(by: 8..<9) }
    #expect(tooMany?.kernelError?.errno == .invalidArgument)
  }

  @Test func messagesOfMSIAreArmedAsAWhole() throws {
    let probe = try Self.probe()
    do {
      let vectors = try probe.function.armInterrupts(.msi, vectors: 0..<2)
      let refusal = #expect(throws: DriverError.self) { try vectors.extend(by: 2..<4) }
      #expect(refusal?.code == .unsupported && refusal?.detail.contains("all 4 at once") == true)
      // Those that there were may come and go.
      try vectors.take(1).close()
      try vectors.extend(by: 1..<2)
      let one = vectors.take(1)
      probe.port.sendMessage(vector: 1)
      let count = try one.poll()
      #expect(count == 1)
    }
    let vectors = try probe.function.armInterrupts(.msi, vectors: 0..<4)
    #expect(vectors.count == 4)
  }

  @Test func severalAreTriggeredInOneCall() throws {
    let probe = try Self.probe()
    let vectors = try probe.function.armInterrupts(.msix, count: 8)
    try vectors.trigger(1..<3)
    try vectors.trigger([0, 2, 7])
    try vectors.trigger([])
    var counts: [UInt64] = []
    for vector in 0..<8 { counts.append(try vectors.take(vector).poll()) }
    #expect(counts == [1, 1, 2, 0, 0, 0, 0, 1])
  }

  @Test func anEventUnmasksTheLine() throws {
    let probe = try Self.probe()
    let vector = try probe.function.armInterrupts(.intx, count: 1).take(0)
    let resample: EventFD? = try EventFD()
    try vector.rearm(whenSignalled: resample)
    let twice = #expect(throws: KernelError.self) { try vector.rearm(whenSignalled: resample) }
    #expect(twice?.errno == .resourceBusy)
    probe.port.setInterruptLine(true)
    let first = try vector.wait(until: Deadline(.seconds(60)))
    try resample?.signal()
    let second = try vector.wait(until: Deadline(.seconds(60)))
    #expect((first, second) == (1, 1), "still raised")
    let none: EventFD? = nil
    try vector.rearm(whenSignalled: none)
    try resample?.signal()
    let third = #expect(throws: DriverError.self) {
      _ = try vector.wait(until: Deadline(.milliseconds(20)))
    }
    #expect(third?.code == .timedOut)
  }

  @Test func aWaiterServesSeveral() throws {
    let probe = try Self.probe()
    let vectors = try probe.function.armInterrupts(.msix, count: 3)
    let zero = vectors.take(0)
    let two = vectors.take(2)
    var waiter = try InterruptWaiter()
    try waiter.add(zero)
    try waiter.add(two, as: 200)
    for _ in 0..<5 { probe.port.sendMessage(vector: 2) }
    probe.port.sendMessage(vector: 0)
    var seen: [UInt32: UInt64] = [:]
    while seen.count < 2 { try waiter.wait(until: Deadline(.seconds(60))) { seen[$0, default: 0] += $1 } }
    #expect(seen == [0: 1, 200: 5])
    try waiter.remove(200)
    probe.port.sendMessage(vector: 2)
    let none = try waiter.wait(until: Deadline(.zero)) { _, _ in }
    #expect(none == 0)
  }

  @Test func aHandlerOnTheReactorCounts() throws {
    let probe = try Self.probe()
    let reactor = try EventReactor()
    let vector = try probe.function.armInterrupts(.msix, count: 1).take(0)
    let total = Total()
    let calls = try vector.serve(on: reactor) { total.sum.add($0, ordering: .relaxed) }
    for _ in 0..<1000 { probe.port.sendMessage(vector: 0) }
    try Deadline(.seconds(60)).poll("a thousand") { total.sum.load(ordering: .relaxed) == 1000 }
    calls.cancel()
  }

  private final class Total: Sendable { let sum = Atomic<UInt64>(0) }
}

/// What happens to the function as a whole.
@Suite struct FunctionEventsTests {
  @Test func errorsAndRequestsAreTold() throws {
    let probe = try Probe()
    let (events, slot) = (probe.function.events, probe.function.slot)
    #expect(try events.poll() == nil)
    slot.reportError()
    slot.requestRemoval()
    #expect(try events.wait(until: Deadline(.seconds(60))) == .removalRequested)
    #expect(try events.wait(until: Deadline(.seconds(60))) == .error)
    let none = #expect(throws: DriverError.self) {
      _ = try events.wait(until: Deadline(.milliseconds(5)))
    }
    #expect(none?.code == .timedOut)
    slot.reportError()
    #expect(try events.poll() == .error)
    slot.remove()
    #expect(try events.wait(until: Deadline(.seconds(60))) == .removed)
    #expect(try events.poll() == nil && events.isRemoved)
  }

  /// Both while one waits: neither is lost, whichever is seen first.
  @Test func eventsThatComeWhileWaitingAreAllTold() throws {
    let probe = try Probe()
    let (events, slot) = (probe.function.events, probe.function.slot)
    for _ in 0..<100 {
      let thread = try OwnedThread {
        slot.reportError()
        slot.requestRemoval()
      }
      let first = try events.wait(until: Deadline(.seconds(60)))
      let second = try events.wait(until: Deadline(.seconds(60)))
      #expect(Set([first, second]) == [.error, .removalRequested])
      withExtendedLifetime(thread) {}
    }
  }

  @Test func theStreamEndsWithTheFunction() async throws {
    let probe = try Probe()
    let (events, slot) = (probe.function.events, probe.function.slot)
    let reactor = try EventReactor()
    var stream = try events.stream(on: reactor).makeAsyncIterator()
    slot.reportError()
    #expect(await stream.next() == .error)
    slot.requestRemoval()
    #expect(await stream.next() == .removalRequested)
    slot.remove()
    #expect(await stream.next() == .removed)
    #expect(await stream.next() == nil)
  }

  /// Whoever waits for an interrupt, in whatever way, learns at once that none will come.
  @Test func removalEndsEveryWait() async throws {
    let probe = try Probe([.powerManagement, .msi(vectorCount: 4)])
    let slot = probe.function.slot
    let reactor = try EventReactor()
    let vectors = try probe.function.armInterrupts(.msi, count: 3)
    let blocked = vectors.take(0)
    let waited = vectors.take(1)
    let streamed = vectors.take(2)
    var waiter = try InterruptWaiter()
    try waiter.add(waited)
    let counts = try streamed.events(on: reactor)
    probe.port.sendMessage(vector: 2)
    let thread = try OwnedThread {
      _ = try? Deadline(.milliseconds(20)).poll("a moment") { false }
      slot.remove()
    }
    let first = #expect(throws: DriverError.self) { _ = try blocked.wait(until: Deadline(.seconds(60))) }
    let second = #expect(throws: DriverError.self) {
      try waiter.wait(until: Deadline(.seconds(60))) { _, _ in Issue.record("no interrupt came") }
    }
    #expect(first?.code == .removed && second?.code == .removed)
    var total: UInt64 = 0
    for await count in counts { total += count }
    #expect(total == 1)
    withExtendedLifetime(thread) {}
    #expect(throws: DriverError.self) { _ = try blocked.poll() }
  }
}
