// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxHandles
import SystemPackage
import Testing

@Suite struct EventFDTests {
  @Test func signalsAddUp() throws {
    let event = try EventFD()
    #expect(try event.take() == 0)
    for _ in 0..<5 { try event.signal() }
    #expect(try event.take() == 5)
    #expect(try event.take() == 0)
  }

  @Test func waitTellsReadyFromLate() throws {
    let event = try EventFD()
    #expect(try event.wait(for: .zero) == false)
    #expect(try event.wait(for: .milliseconds(-5)) == false)
    let start = ContinuousClock.now
    #expect(try event.wait(for: .milliseconds(20)) == false)
    #expect(start.duration(to: .now) >= .milliseconds(20))
    try event.signal()
    #expect(try event.wait(for: .seconds(60)) == true)
    #expect(try event.take() == 1)
  }

  @Test func anAdoptedCounterIsTheSame() throws {
    let event = try EventFD()
    let other = EventFD(adopting: try event.descriptor.duplicate())
    try other.signal()
    #expect(try event.take() == 1)
    try other.close()
  }
}

@Suite struct EventReactorTests {
  /// A blocking thread signals; what arrives adds up to what was sent.
  @Test func noCountIsLost() async throws {
    let reactor = try EventReactor()
    let event = try EventFD()
    let sender = EventFD(adopting: try event.descriptor.duplicate())
    let stream = try reactor.counts(of: event)
    let sending = try OwnedThread { for _ in 0..<10_000 { _ = try? sender.signal() } }
    var total: UInt64 = 0
    for await count in stream {
      total += count
      if total >= 10_000 { break }
    }
    #expect(total == 10_000)
    _ = consume sending
    #expect(try event.take() == 0)
  }

  @Test func theEventMayBeClosedWhileItIsWatched() async throws {
    let reactor = try EventReactor()
    let event = try EventFD()
    let other = EventFD(adopting: try event.descriptor.duplicate())
    let stream = try reactor.counts(of: event)
    try event.close()
    try other.signal()
    var iterator = stream.makeAsyncIterator()
    let count = await iterator.next()
    #expect(count == 1)
  }

  @Test func eachStreamGetsItsOwnEvents() async throws {
    let reactor = try EventReactor()
    let first = try EventFD()
    let second = try EventFD()
    var iterators = try (
      reactor.counts(of: first).makeAsyncIterator(), reactor.counts(of: second).makeAsyncIterator()
    )
    try second.signal()
    try second.signal()
    try first.signal()
    var sum: UInt64 = 0
    while sum < 2 { sum += await iterators.1.next() ?? 100 }
    #expect(sum == 2)
    #expect(await iterators.0.next() == 1)
  }

  @Test func endOfAStreamClosesItsDuplicate() async {
    await #expect(processExitsWith: .success) {
      let reactor = try EventReactor()
      let event = try EventFD()
      try ProcessFacts.requireNoGrowth("a stream", times: 50) {
        let stream = try reactor.counts(of: event)
        withExtendedLifetime(stream) {}
      }
      withExtendedLifetime(reactor) {}
    }
  }

  @Test func theThreadEndsWithTheReactor() async {
    await #expect(processExitsWith: .success) {
      try ProcessFacts.requireNoGrowth("a reactor", times: 50) {
        let reactor = try EventReactor()
        withExtendedLifetime(reactor) {}
      }
    }
  }

  #if DEBUG
    @Test func failuresLeakNothing() async {
      await #expect(processExitsWith: .success) {
        let event = try EventFD()
        let count = ProcessFacts.sweep {
          let reactor = try EventReactor()
          let stream = try reactor.counts(of: event)
          withExtendedLifetime((reactor, stream)) {}
        }
        // epoll_create1, eventfd, epoll_ctl, pthread_create, dup, epoll_ctl, and the reactor's last signal.
        ProcessFacts.require(count >= 6, "only \(count) calls were made to fail")
      }
    }
  #endif
}
