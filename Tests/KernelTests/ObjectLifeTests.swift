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
  /// The life of objects: their list, their numbers, their ends.
  @Suite struct ObjectLifeTests {
    @Test func theListTellsWhoNeedsWhom() throws {
      let fixture = try VIOMMUFixture()
      let (context, device) = (fixture.page.context, fixture.device)
      let queue = try FaultQueue(in: context)
      let table = try fixture.nested(faults: queue)
      let name = try VDevice(device, in: fixture.viommu, virtualID: 0x99)
      try device.attach(to: table)
      let events = try VEventQueue(of: fixture.viommu, VIOMMUFixture.events, depth: 4)
      let graph = context.objects
      #expect(
        Set(graph.objects.map(\.kind)) == [
          .ioas, .device, .pageTable, .viommu, .faultQueue, .vdevice, .veventQueue,
        ])
      #expect(graph.users(of: queue.id).map(\.id) == [table.id])
      #expect(Set(graph.users(of: fixture.viommu.id).map(\.id)) == [table.id, name.id, events.id])
      let text = graph.lines().joined(separator: "\n")
      #expect(text.contains("RID -> HWPT \(table.id) (nested)"), "\(text)")
      let dot = graph.dotLines()
      #expect(dot.first == "digraph iommufd {" && dot.last == "}")
      #expect(dot.contains { $0.contains("o\(table.id) -> o\(queue.id) [label=\"tells faults to\"]") })
      try device.attach(to: fixture.page.ioas)
      #expect(context.objects.users(of: table.id).isEmpty)
      try events.close()
      #expect(!context.objects.objects.contains { $0.kind == .veventQueue })
    }

    @Test func theListIsEmptyInTheEnd() throws {
      let context = try IOMMUFDContext()
      do {
        let ioas = try IOAS(in: context)
        let mock = try MockDevice(attachedTo: ioas)
        let device = mock.bound(to: ioas)
        let parent = try HWPageTable(of: ioas, for: device, options: .nestParent)
        let nested = try HWPageTable(nestedIn: parent, for: device, data: PageTableFixture.data())
        let queue = try FaultQueue(in: context)
        #expect(context.objects.objects.count == 5)
        _ = (nested, queue)
      }
      #expect(context.objects.objects.isEmpty)
      // The kernel agrees: the next object has the lowest number.
      #expect(try IOAS(in: context).id == IOMMUFDObjectID(1))
    }

    /// The kernel gives a number to the next object at once: a handle of the one before must not reach it.
    @Test func aStaleHandleHitsNothing() throws {
      let fixture = try PageTableFixture()
      let device = fixture.devices[0]
      let stale = try HWPageTable(of: fixture.ioas, for: device, options: .dirtyTracking)
      try stale.close()
      let fresh = try HWPageTable(of: fixture.ioas, for: device, options: .dirtyTracking)
      #expect(fresh.id == stale.id, "the number is another table's now")
      let calls: [(HWPageTable) throws -> Void] = [
        { try $0.close() },
        { try $0.setDirtyTracking(true) },
        { _ = try $0.dirtyPages(in: IOVARange(start: IOVA(0), last: IOVA(4095))) },
        { try device.attach(to: $0) },
        { _ = try HWPageTable(nestedIn: $0, for: device, data: PageTableFixture.data()) },
        { _ = try VIOMMU(in: $0, for: device, VIOMMUFixture.model) },
        { try $0.invalidate(PageTableFixture.invalidation([(0, 0)])).requireAll() },
      ]
      for call in calls {
        let error = #expect(throws: KernelError.self) { try call(stale) }
        #expect(error?.errno == .noSuchFileOrDirectory && error?.remedy?.contains("was closed") == true)
      }
      try fresh.setDirtyTracking(true)
      try fresh.close()
    }

    @Test func closedObjectsOfEachKindSaySo() throws {
      let fixture = try VIOMMUFixture()
      let context = fixture.page.context
      let queue = try FaultQueue(in: context)
      let name = try VDevice(fixture.device, in: fixture.viommu, virtualID: 3)
      let events = try VEventQueue(of: fixture.viommu, VIOMMUFixture.events, depth: 1)
      let closes: [() throws -> Void] = [
        { try queue.close() }, { try name.close() }, { try events.close() }, { try fixture.viommu.close() },
      ]
      for close in closes {
        #expect(throws: Never.self) { try close() }
        let again = #expect(throws: KernelError.self) { try close() }
        #expect(again?.errno == .noSuchFileOrDirectory)
      }
      #expect(
        refusal { () throws(KernelError) in
          _ = try HWPageTable(of: fixture.page.ioas, for: fixture.device, faults: queue)
        } == .noSuchFileOrDirectory)
      #expect(refusal { () throws(KernelError) in _ = try fixture.nested() } == .noSuchFileOrDirectory)
      #expect(
        fixture.viommu.invalidate(VIOMMUFixture.invalidation([(0, 3, 0)])).failure?.errno
          == .noSuchFileOrDirectory)
    }

    /// Destroying and attaching race: one of the two is refused, or the attachment comes first and the destruction is
    /// refused; nothing crashes, nothing leaks, and no stranger is hit.
    @Test func destroyRacesAttach() throws {
      let fixture = try PageTableFixture()
      let device = fixture.devices[0]
      let before = fixture.context.objects.objects.count
      for _ in 0..<200 {
        let table = try HWPageTable(of: fixture.ioas, for: device)
        let race = Race(table, device)
        let closeError: Errno?
        do {
          let thread = try OwnedThread { race.attach() }
          race.isGo.store(true, ordering: .releasing)
          closeError = refusal { () throws(KernelError) in try table.close() }
          _ = consume thread
        }
        if closeError == nil {
          #expect(race.error == .noSuchFileOrDirectory)
        } else {
          #expect(closeError == .resourceBusy)
        }
        try device.attach(to: fixture.ioas)
        if closeError != nil { try table.close() }
      }
      #expect(fixture.context.objects.objects.count == before)
    }

    private final class Race: Sendable {
      let table: HWPageTable
      let device: IOMMUFDDevice
      let isGo = Atomic<Bool>(false)
      private let outcome = Mutex<Errno?>(nil)

      init(_ table: HWPageTable, _ device: IOMMUFDDevice) {
        self.table = table
        self.device = device
      }

      var error: Errno? { outcome.withLock { $0 } }

      func attach() {
        while !isGo.load(ordering: .acquiring) {}
        let error = refusal { () throws(KernelError) in try device.attach(to: table) }
        outcome.withLock { $0 = error }
      }
    }

    /// Threads make and drop objects of one context, in any order.
    @Test func manyThreadsReleaseInAnyOrder() throws {
      let fixture = try PageTableFixture()
      let before = fixture.context.objects.objects
      do {
        var threads: [Worker] = []
        for number in 0..<4 { threads.append(try Worker(fixture, number)) }
        for thread in threads { thread.wait() }
      }
      #expect(fixture.context.objects.objects == before)
      #expect(try IOAS(in: fixture.context).id.rawValue < 12, "no number is lost")
    }

    private final class Worker: Sendable {
      private let thread: Mutex<OwnedThread?>
      init(_ fixture: PageTableFixture, _ number: Int) throws {
        let (ioas, device, context) = (fixture.ioas, fixture.devices[0], fixture.context)
        thread = Mutex(
          try OwnedThread {
            var kept: [AnyObject] = []
            for round in 0..<200 {
              if let parent = try? HWPageTable(of: ioas, for: device, options: .nestParent) {
                kept.append(parent)
                if let nested = try? HWPageTable(nestedIn: parent, for: device, data: PageTableFixture.data())
                {
                  kept.append(nested)
                }
              }
              if let queue = try? FaultQueue(in: context) { kept.append(queue) }
              if round % 7 == number { kept.removeAll() }
              if kept.count > 20 { kept.removeFirst(5) }
            }
          })
      }

      func wait() { _ = thread.withLock { $0.take() } }
    }

    /// 10,000 of them, and the second half costs what the first did.
    @Test func tenThousandObjects() throws {
      let fixture = try PageTableFixture()
      let device = fixture.devices[0]
      let parent = try HWPageTable(of: fixture.ioas, for: device, options: .nestParent)
      let leaks = LeakCheck { $0.hasPrefix("/dev/iommu") || $0.contains("iommufd-") }
      var halves: [Duration] = []
      for _ in 0..<2 {
        let begin = ContinuousClock.now
        // Not tables of the address space: to make one the kernel looks at each of the others.
        var tables: [HWPageTable] = []
        for _ in 0..<5000 {
          tables.append(try HWPageTable(nestedIn: parent, for: device, data: PageTableFixture.data()))
        }
        #expect(fixture.context.objects.objects.count == 5003)
        tables = []
        halves.append(begin.duration(to: .now))
      }
      print("10,000 page tables made and destroyed: \(halves[0]) and \(halves[1])")
      #expect(halves[1] < halves[0] * 3)
      #expect(fixture.context.objects.objects.count == 3)
      #expect(try IOAS(in: fixture.context).id.rawValue < 8)
      try leaks.verify()
    }

    #if DEBUG
      @Test func everyCallMayFail() throws {
        let concerns = { (path: String) in path.hasPrefix("/dev/iommu") || path.contains("iommufd-") }
        let swept = try faultSweep(.noMemory, concerning: concerns) { plan in
          do {
            try FaultPlan.$current.withValue(plan) {
              let fixture = try VIOMMUFixture()
              let table = try fixture.nested()
              let name = try VDevice(fixture.device, in: fixture.viommu, virtualID: 0x99)
              try fixture.device.attach(to: table)
              let events = try VEventQueue(of: fixture.viommu, VIOMMUFixture.events, depth: 4)
              try table.invalidate(PageTableFixture.invalidation([(0, 0)])).requireAll()
              try fixture.viommu.invalidate(VIOMMUFixture.invalidation([(0, 0x99, 0)])).requireAll()
              try fixture.device.attach(to: fixture.page.ioas)
              try events.close()
              try name.close()
              try table.close()
              try fixture.viommu.close()
            }
          } catch let error as KernelError {
            #expect(plan.wasReached && error.errno == .noMemory)
          }
        }
        #expect(swept >= 18, "\(swept) calls")
      }
    #endif
  }
}
