// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import Synchronization
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// Queues of faults and of events: read by waiting, as sequences, under a close, and answered.
  @Suite struct QueueTests {
    /// A device that is attached to a page table whose faults come to a queue.
    struct Faults {
      let page: PageTableFixture
      let queue: FaultQueue
      let table: HWPageTable

      init() throws(KernelError) {
        page = try PageTableFixture()
        queue = try FaultQueue(in: page.context)
        table = try HWPageTable(of: page.ioas, for: page.devices[0], faults: queue)
        try page.devices[0].attach(to: table)
      }

      func trigger(_ addresses: [UInt64]) throws(KernelError) {
        for (index, address) in addresses.enumerated() {
          try page.mocks[0].triggerPageFault(at: address, group: UInt32(index))
        }
      }

      /// Detached and closed, as a program does that checks.
      func close() throws(KernelError) {
        try page.devices[0].attach(to: page.ioas)
        try table.close()
        try queue.close()
      }
    }

    @Test func aReadWaitsForItsTime() throws {
      let faults = try Faults()
      #expect(try faults.queue.read() == [])
      let begin = ContinuousClock.now
      #expect(try faults.queue.read(for: .milliseconds(50)) == [])
      #expect(begin.duration(to: .now) >= .milliseconds(50))
      try faults.close()
      #expect(try faults.queue.read() == nil)
      #expect(try faults.queue.read(for: .seconds(60)) == nil)
    }

    @Test func aReadWakesForAFault() throws {
      let faults = try Faults()
      let (mock, queue) = (faults.page.mocks[0], faults.queue)
      let thread = try OwnedThread { _ = try? mock.triggerPageFault(at: 0x5000) }
      let groups = try #require(try queue.read(for: .seconds(30)))
      _ = consume thread
      #expect(groups.first?.faults.first?.address == IOVA(0x5000))
      try queue.respond(groups.map { $0.response(.handled) }).requireAll()
      try faults.close()
    }

    @Test func manyFaultsComeInOrder() throws {
      let faults = try Faults()
      let addresses = (0..<200).map { UInt64($0) << 12 }
      try faults.trigger(addresses)
      var seen: [PageFaultGroup] = []
      while let groups = try faults.queue.read(), !groups.isEmpty { seen += groups }
      #expect(seen.flatMap(\.faults).map(\.address.rawValue) == addresses)
      #expect(Set(seen.map(\.cookie)).count == 200)
      try faults.queue.respond(seen.map { $0.response(.handled) }).requireAll()
      try faults.close()
    }

    @Test func answersThatNobodyAskedFor() throws {
      let faults = try Faults()
      try faults.trigger([0x1000, 0x2000, 0x3000])
      let groups = try #require(try faults.queue.read(for: .seconds(5)))
      let stranger = PageFaultResponse(cookie: 0xdead_beef, outcome: .handled)
      let outcome = faults.queue.respond([
        groups[0].response(.handled), stranger, groups[1].response(.handled),
      ])
      #expect(outcome.handledCount == 1 && outcome.failure?.errno == .invalidArgument)
      #expect(outcome.failure?.remedy?.contains("3735928559") == true)
      #expect(faults.queue.respond([groups[0].response(.handled)]).handledCount == 0, "answered already")
      #expect(faults.queue.respond([]).failure == nil)
      try faults.queue.respond([groups[1].response(.refused), groups[2].response(.refused)]).requireAll()
      try faults.close()
      #expect(faults.queue.respond([stranger]).failure?.errno == .noSuchFileOrDirectory)
    }

    /// Detaching answers for whoever did not.
    @Test func unansweredFaultsEndWithTheAttachment() throws {
      let faults = try Faults()
      try faults.trigger([0x1000, 0x2000])
      let groups = try #require(try faults.queue.read(for: .seconds(5)))
      try faults.trigger([0x3000])
      try faults.page.devices[0].attach(to: faults.page.ioas)
      #expect(try faults.queue.read() == [])
      #expect(faults.queue.respond([groups[0].response(.handled)]).failure?.errno == .invalidArgument)
      try faults.close()
    }

    @Test func aQueueIsClosedUnderItsReader() throws {
      let queue = try FaultQueue(in: IOMMUFDContext())
      let reader = Reader(of: queue)
      let thread = try OwnedThread { reader.run() }
      while !reader.isReading.load(ordering: .acquiring) {}
      try queue.close()
      _ = consume thread
      let sawTheEnd = reader.sawTheEnd.load(ordering: .acquiring)
      #expect(sawTheEnd)
    }

    private final class Reader: Sendable {
      let queue: FaultQueue
      let isReading = Atomic<Bool>(false)
      let sawTheEnd = Atomic<Bool>(false)

      init(of queue: FaultQueue) { self.queue = queue }

      /// Waits for long; only the close ends it sooner.
      func run() {
        isReading.store(true, ordering: .releasing)
        do throws(KernelError) {
          sawTheEnd.store(try queue.read(for: .seconds(60)) == nil, ordering: .releasing)
        } catch {
          // Told by what was not seen.
        }
      }
    }

    @Test(.timeLimit(.minutes(2))) func aSequenceGivesFaultsAndEndsWithTheQueue() async throws {
      let faults = try Faults()
      let reactor = try EventReactor()
      try faults.trigger([0x1000, 0x2000])
      let groups = try faults.queue.groups(on: reactor)
      let (page, queue) = (faults.page, faults.queue)
      var addresses: [UInt64] = []
      for try await group in groups {
        addresses += group.faults.map(\.address.rawValue)
        try queue.respond([group.response(.handled)]).requireAll()
        if addresses.count == 2 { try page.mocks[0].triggerPageFault(at: 0x3000) }
        if addresses.count == 3 { break }
      }
      #expect(addresses == [0x1000, 0x2000, 0x3000])
      let rest = Task { () throws(KernelError) in
        var count = 0
        for try await _ in groups { count += 1 }
        return count
      }
      try faults.close()
      #expect(try await rest.value == 0)
    }

    @Test(.timeLimit(.minutes(2))) func aSequenceEndsWithItsTask() async throws {
      let faults = try Faults()
      let groups = try faults.queue.groups(on: EventReactor())
      let task = Task { () throws(KernelError) in
        for try await _ in groups {}
        return true
      }
      task.cancel()
      #expect(try await task.value)
      try faults.close()
    }

    @Test(.timeLimit(.minutes(2))) func eventsComeAsASequence() async throws {
      let fixture = try VIOMMUFixture()
      let table = try fixture.nested()
      let name = try VDevice(fixture.device, in: fixture.viommu, virtualID: 0x42)
      try fixture.device.attach(to: table)
      let queue = try VEventQueue(of: fixture.viommu, VIOMMUFixture.events, depth: 4)
      let reactor = try EventReactor()
      let events = try queue.events(on: reactor)
      let mock = fixture.mock
      let thread = try OwnedThread {
        for _ in 0..<3 { _ = try? mock.triggerEvent() }
      }
      var seen: [VirtualEvent] = []
      for try await event in events {
        seen.append(event)
        if seen.count == 3 { break }
      }
      _ = consume thread
      #expect(seen.map(\.sequence) == [0, 1, 2])
      #expect(seen.allSatisfy { $0.content == .event(littleEndianBytes(0x42)) && $0.lostCount == 0 })
      try fixture.device.attach(to: fixture.page.ioas)
      try queue.close()
      #expect(try queue.read() == nil)
      try name.close()
    }

    #if DEBUG
      @Test func everyCallMayFail() throws {
        let concerns = { (path: String) in
          path.hasPrefix("/dev/iommu") || path.contains("iommufd-") || path.contains("eventpoll")
        }
        let swept = try faultSweep(.noMemory, concerning: concerns) { plan in
          do {
            try FaultPlan.$current.withValue(plan) {
              let faults = try Faults()
              try faults.trigger([0x1000])
              let groups = try faults.queue.read(for: .seconds(5)) ?? []
              try faults.queue.respond(groups.map { $0.response(.handled) }).requireAll()
              try faults.close()
            }
          } catch let error as KernelError {
            #expect(plan.wasReached && error.errno == .noMemory)
          }
        }
        #expect(swept >= 14, "\(swept) calls")
      }
    #endif
  }
}
