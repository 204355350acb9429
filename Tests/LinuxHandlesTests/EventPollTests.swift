// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxHandles
import Synchronization
import SystemPackage
import Testing

@Suite struct EventPollTests {
  @Test func everyReadyCounterIsTakenOnce() throws {
    let poll = try EventPoll()
    let (first, second) = (Event(try EventFD()), Event(try EventFD()))
    try poll.add(first.event, tag: 7)
    try poll.add(second.event, tag: .max)
    for _ in 0..<3 { try first.event.signal() }
    try second.event.signal()
    var seen: [UInt32: UInt64] = [:]
    #expect(try poll.wait { seen[$0, default: 0] += $1 } == 2)
    #expect(seen == [7: 3, .max: 1])
    #expect(try poll.wait(for: .zero) { _, _ in Issue.record("taken twice") } == 0)
  }

  @Test func aLimitIsKeptAndNeverRoundedToNothing() throws {
    let poll = try EventPoll()
    let start = ContinuousClock.now
    #expect(try poll.wait(for: .microseconds(1500)) { _, _ in } == 0)
    #expect(start.duration(to: .now) >= .microseconds(1500))
  }

  @Test func whatIsRemovedIsNotSeen() throws {
    let poll = try EventPoll()
    let event = try EventFD()
    try poll.add(event, tag: 0)
    let twice = #expect(throws: KernelError.self) { try poll.add(event, tag: 1) }
    #expect(twice?.errno == .fileExists)
    try poll.remove(event)
    try event.signal()
    #expect(try poll.wait(for: .milliseconds(1)) { _, _ in } == 0)
    let again = #expect(throws: KernelError.self) { try poll.remove(event) }
    #expect(again?.errno == .noSuchFileOrDirectory)
  }

  /// More counters than one call of the kernel's gives.
  @Test func fortyCountersAreServedInTurns() throws {
    let poll = try EventPoll()
    let events = try (0..<40).map { _ in Event(try EventFD()) }
    for (tag, event) in events.enumerated() {
      try poll.add(event.event, tag: UInt32(tag))
      try event.event.signal()
    }
    var seen: Set<UInt32> = []
    try withExtendedLifetime(events) {
      for _ in 0..<40 where seen.count < 40 {
        _ = try poll.wait(for: .seconds(60)) { tag, _ in seen.insert(tag) }
      }
    }
    #expect(seen.count == 40)
  }

  /// Arrays hold no values that cannot be copied.
  private final class Event: Sendable {
    let event: EventFD
    init(_ event: consuming EventFD) { self.event = event }
  }
}

@Suite struct EventSubscriptionTests {
  /// Counts, and says when enough came.
  private final class Total: Sendable {
    let sum = Atomic<UInt64>(0)
    let reached: EventFD
    private let target: UInt64
    init(until target: UInt64) throws {
      reached = try EventFD()
      self.target = target
    }
    func add(_ count: UInt64) {
      if sum.add(count, ordering: .relaxed).newValue >= target { reached.wake() }
    }
  }

  /// Several threads signal; a handler counts: nothing is lost and nothing comes twice.
  @Test func aHandlerSeesEverySignal() throws {
    let reactor = try EventReactor()
    let event = try EventFD()
    let total = try Total(until: 30_000)
    let subscription = try reactor.watch(event.descriptor) { total.add($0) }
    do {
      var threads: [Thread] = []
      for _ in 0..<3 {
        let sender = Thread.Sender(EventFD(adopting: try event.descriptor.duplicate()))
        threads.append(Thread(try OwnedThread { for _ in 0..<10_000 { sender.event.wake() } }))
      }
    }
    #expect(try total.reached.wait(for: .seconds(60)))
    #expect(total.sum.load(ordering: .relaxed) == 30_000)
    #expect(try event.take() == 0)
    subscription.cancel()
  }

  private final class Thread: Sendable {
    final class Sender: Sendable {
      let event: EventFD
      init(_ event: consuming EventFD) { self.event = event }
    }
    let thread: OwnedThread
    init(_ thread: consuming OwnedThread) { self.thread = thread }
  }

  @Test func aCancelledHandlerIsCalledNoMoreAndLetGo() throws {
    let reactor = try EventReactor()
    let event = try EventFD()
    weak var captured: Total?
    do {
      let total = try Total(until: 1)
      captured = total
      let subscription = try reactor.watch(event.descriptor) { total.add($0) }
      try event.signal()
      #expect(try total.reached.wait(for: .seconds(60)))
      subscription.cancel()
      subscription.cancel()
      try event.signal()
      usleep(20_000)
      #expect(total.sum.load(ordering: .relaxed) == 1)
    }
    let end = ContinuousClock.now + .seconds(60)
    while captured != nil, ContinuousClock.now < end { usleep(1000) }
    #expect(captured == nil)
    #expect(try event.take() == 1)
  }

  /// Whoever only looks leaves the count to its reader, and sees every signal.
  @Test func aLookerTakesNothing() throws {
    let reactor = try EventReactor()
    let event = try EventFD()
    let looks = try Total(until: 1)
    let subscription = try reactor.watch(event.descriptor, taking: false) { looks.add($0 + 1) }
    for look in 1...3 {
      try event.signal()
      #expect(try looks.reached.wait(for: .seconds(60)))
      _ = try looks.reached.take()
      #expect(looks.sum.load(ordering: .relaxed) == look)
    }
    #expect(try event.take() == 3)
    subscription.cancel()
  }

  @Test func aTimerCallsOnce() throws {
    let reactor = try EventReactor()
    let timer = try TimerFD()
    let calls = try Total(until: 1)
    let subscription = try reactor.watch(timer.descriptor) { calls.add($0) }
    let start = ContinuousClock.now
    try timer.start(after: .milliseconds(20))
    #expect(try calls.reached.wait(for: .seconds(60)))
    #expect(start.duration(to: .now) >= .milliseconds(20))
    _ = try calls.reached.take()
    try timer.start(after: .zero)
    #expect(try calls.reached.wait(for: .seconds(60)))
    #expect(calls.sum.load(ordering: .relaxed) == 2)
    subscription.cancel()
  }
}

@Suite struct EventCountsTests {
  @Test func aSlowConsumerGetsTheSum() async throws {
    let reactor = try EventReactor()
    let event = try EventFD()
    var iterator = try reactor.counts(of: event).makeAsyncIterator()
    for _ in 0..<1000 { try event.signal() }
    var total: UInt64 = 0
    while total < 1000 { total += await iterator.next() ?? 1_000_000 }
    #expect(total == 1000)
  }

  @Test func aCancelledTaskEnds() async throws {
    let reactor = try EventReactor()
    let event = try EventFD()
    let counts = try reactor.counts(of: event)
    let task = Task {
      var elements = 0
      for await _ in counts { elements += 1 }
      return elements
    }
    try await Task.sleep(for: .milliseconds(10))
    task.cancel()
    #expect(await task.value == 0)
    let early = Task {
      while !Task.isCancelled { await Task.yield() }
      var iterator = counts.makeAsyncIterator()
      return await iterator.next()
    }
    early.cancel()
    #expect(await early.value == nil)
  }

  @Test func theLastCallEndsTheSequenceAfterWhatCameBefore() async throws {
    let reactor = try EventReactor()
    let event = try EventFD()
    try event.signal()
    try event.signal()
    event.sayLastCall()
    var elements: [UInt64] = []
    for await count in try reactor.counts(of: event) { elements.append(count) }
    #expect(elements == [2])
  }
}

@Suite struct ReplacedMemoryTests {
  @Test func aMappingBecomesOnes() throws {
    // Longer than the memory that is mapped again and again, and no multiple of it.
    let byteCount = (5 << 18) + 4096
    let memory = try MappedMemory.anonymous(byteCount: byteCount)
    unsafe memory.baseAddress.storeBytes(of: 5, as: UInt8.self)
    try memory.replaceByOnes()
    for offset in stride(from: 0, to: byteCount, by: 4096) {
      #expect(unsafe memory.baseAddress.load(fromByteOffset: offset, as: UInt64.self) == .max)
    }
    unsafe memory.baseAddress.storeBytes(of: 5, as: UInt8.self)
    #expect(
      unsafe memory.baseAddress.load(fromByteOffset: 1 << 20, as: UInt8.self) == 0xff, "writes are private")
  }
}
