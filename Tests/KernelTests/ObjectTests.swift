// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import DMACore
import Glibc
import IOMMUFD
import LinuxHandles
import Synchronization
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// Objects in great number, and let go of by many threads.
  @Suite struct ObjectTests {
    private let page = TestMemory.page

    /// Only a context in which nothing is left lets this be changed.
    private func expectEmpty(_ context: IOMMUFDContext) throws { try context.setLockAccounting(.user) }

    /// A thread that is waited for when this goes.
    private final class Runner {
      private let thread: OwnedThread
      init(_ body: @escaping @Sendable () -> Void) throws(KernelError) {
        thread = try OwnedThread(running: body)
      }
    }

    /// What threads share: a start, and what went wrong.
    private final class Race: Sendable {
      private let waiting: Atomic<Int>
      let failures = Mutex<[String]>([])

      init(of count: Int) { waiting = Atomic(count) }

      /// Returns to all at the same moment.
      func start() {
        waiting.subtract(1, ordering: .acquiringAndReleasing)
        while waiting.load(ordering: .acquiring) > 0 { sched_yield() }
      }
    }

    /// The same objects in several orders, each to be taken once.
    private final class Shelf: Sendable {
      private let orders: Mutex<[[IOAS]]>
      init(_ spaces: [IOAS], copies: Int) { orders = Mutex((0..<copies).map { _ in spaces.shuffled() }) }
      func take() -> [IOAS] { orders.withLock { $0.popLast() ?? [] } }
    }

    /// Runs a body in several threads from the same moment on, and waits for all of them.
    private func inThreads(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
      let race = Race(of: count)
      var runners: [Runner] = []
      for index in 0..<count {
        runners.append(
          try Runner {
            race.start()
            do { try body(index) } catch { race.failures.withLock { $0.append("\(error)") } }
          })
      }
      runners = []
      #expect(race.failures.withLock { $0 } == [])
    }

    @Test func tenThousandAddressSpacesComeAndGo() throws {
      // Each has tables of 8 MiB of which nothing is touched. Once one was freed, glibc would put the next ones where it
      // was, and clear them: what is measured would be that.
      #expect(cmock_map_large_blocks() == 1)
      let context = try IOMMUFDContext()
      var highest: UInt32 = 0
      func make(_ count: Int) throws -> Duration {
        try ContinuousClock().measure {
          for _ in 0..<count / 100 {
            let spaces = try (0..<100).map { _ in try IOAS(in: context) }
            highest = max(highest, spaces.map(\.id.rawValue).max() ?? 0)
          }
        }
      }
      _ = try make(500)
      let first = try make(5000)
      let second = try make(5000)
      #expect(highest <= 101, "numbers are given out again")
      // Twice would be more than linear on a quiet machine; this one shares two cores.
      #expect(second < first * 3, "\(first), then \(second)")
      try expectEmpty(context)
      print("10,000 address spaces: made and gone in \(first + second)")
    }

    /// What one thread makes, all let go of at once: each object goes once, with whoever was the last.
    @Test func objectsAreLetGoOfByManyThreads() throws {
      let context = try IOMMUFDContext()
      let shelf = Shelf(try (0..<200).map { _ in try IOAS(in: context) }, copies: 8)
      try inThreads(8) { _ in
        var mine = shelf.take()
        while !mine.isEmpty {
          mine.removeLast()
          // Numbers that others give back are taken at once.
          let own = try IOAS(in: context)
          _ = try own.expose(UnsharedMemory(byteCount: 4096), access: .readWrite).reclaim()
        }
      }
      try expectEmpty(context)
    }

    /// One mapping, which the last of many threads ends.
    @Test func oneAddressSpaceIsSharedByManyThreads() throws {
      let context = try IOMMUFDContext()
      do {
        let (space, other) = (try IOAS(in: context), try IOAS(in: context))
        try inThreads(8) { _ in
          for _ in 0..<50 {
            let memory = try space.expose(UnsharedMemory(byteCount: 8192), access: .readWrite)
            let share = try memory.share(copyingMappingTo: other, access: .read)
            let second = try memory.share(copyingMappingTo: other, bytes: 0..<4096, access: .read)
            try share.unshare()
            try second.unshare()
            _ = try memory.reclaim()
          }
        }
        #expect(space.exposures.isEmpty && other.exposures.isEmpty)
        #expect(try space.unmapAll() == 0)
        #expect(try other.unmapAll() == 0)
      }
      try expectEmpty(context)
    }

    /// Unmapping everything races with those who map and unmap: errors are told, and nothing is left.
    @Test func everythingIsUnmappedUnderThoseWhoMap() throws {
      let context = try IOMMUFDContext()
      do {
        let space = try IOAS(in: context)
        try inThreads(4) { index in
          for _ in 0..<100 {
            if index == 0 {
              try space.endAllExposures()
            } else {
              let memory = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
              _ = try memory.reclaim()
            }
          }
        }
        #expect(space.exposures.isEmpty)
        #expect(try space.unmapAll() == 0)
      }
      try expectEmpty(context)
    }

    /// Several threads take one device from one page table to another while others destroy what it leaves.
    @Test func devicesMoveWhileTablesGo() throws {
      let context = try IOMMUFDContext()
      do {
        let spaces = [try IOAS(in: context), try IOAS(in: context)]
        let device = try MockDevice(attachedTo: spaces[0])
        try inThreads(4) { index in
          for step in 0..<100 {
            // The kernel may be attaching it elsewhere at that moment: the table that it made is then gone already.
            let errno = refusal { () throws(KernelError) in
              try device.replace(with: spaces[(index + step) % 2].id)
            }
            guard errno == nil || errno == .noSuchFileOrDirectory || errno == .resourceBusy else {
              throw KernelError(operation: "replace", errno: errno ?? .ioError, subject: "")
            }
          }
        }
        try device.destroy()
      }
      try expectEmpty(context)
    }
  }
}
