// SPDX-License-Identifier: Apache-2.0
import LinuxHandles
import Synchronization
import SystemPackage
import TestSupport
import Testing

@Suite struct DescriptorReadinessTests {
  @Test func aWaitEndsByTheDescriptorOrItsTime() throws {
    let event = try EventFD()
    let readiness = try DescriptorReadiness(of: event.descriptor)
    #expect(try !readiness.wait(for: .milliseconds(5)))
    try event.signal()
    #expect(try readiness.wait(for: .seconds(60)))
    _ = try event.take()
    #expect(try !readiness.wait(for: .zero))
    readiness.end(event.descriptor)
    #expect(try readiness.wait(for: .seconds(60)))
  }

  /// Whoever waits holds no file: it closes at once.
  @Test func theEndWakesAWaitOnAnotherThread() throws {
    let waiter = try Waiter()
    let thread = try OwnedThread { waiter.run() }
    while !waiter.isWaiting.load(ordering: .acquiring) {}
    waiter.end()
    _ = consume thread
    let isWoken = waiter.isWoken.load(ordering: .acquiring)
    #expect(isWoken)
  }

  private final class Waiter: Sendable {
    private let event: EventFD
    private let readiness: DescriptorReadiness
    let isWaiting = Atomic<Bool>(false)
    let isWoken = Atomic<Bool>(false)

    init() throws {
      let event = try EventFD()
      readiness = try DescriptorReadiness(of: event.descriptor)
      self.event = event
    }

    func run() {
      isWaiting.store(true, ordering: .releasing)
      isWoken.store((try? readiness.wait(for: .seconds(60))) == true, ordering: .releasing)
    }

    func end() { readiness.end(event.descriptor) }
  }

  @Test(.timeLimit(.minutes(15))) func changesComeOnceEach() async throws {
    let event = try EventFD()
    let readiness = try DescriptorReadiness(of: event.descriptor)
    try event.signal()
    let reactor = try EventReactor()
    var changes = try readiness.changes(on: reactor).makeAsyncIterator()
    #expect(await changes.next() != nil, "readable from the beginning")
    for _ in 0..<3 {
      _ = try event.take()
      try event.signal()
      #expect(await changes.next() != nil)
    }
    readiness.end(event.descriptor)
    #expect(await changes.next() != nil)
  }

  #if DEBUG
    @Test func everyCallMayFail() throws {
      let event = try EventFD()
      // Other tests make epoll instances meanwhile: that none leaks is seen in the lab, by QueueTests.
      let swept = try faultSweep(.tooManyOpenFiles, concerning: { _ in false }) { plan in
        do {
          try FaultPlan.$current.withValue(plan) {
            let readiness = try DescriptorReadiness(of: event.descriptor)
            _ = try readiness.wait(for: .zero)
          }
        } catch let error as KernelError {
          #expect(plan.wasReached && error.errno == .tooManyOpenFiles)
        }
      }
      #expect(swept == 5, "\(swept) calls")
    }
  #endif
}
