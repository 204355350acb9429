// SPDX-License-Identifier: Apache-2.0
import DriverCore
import LinuxHandles
import PCIBus
import Synchronization
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// A million interrupts through the kernel on 16 vectors, from two threads, while a consumer takes them:
  /// the sums are exact.
  @Suite struct InterruptLoadTests {
    private static let vectorCount = 16
    private static let rounds = 1_000_000 / vectorCount

    /// Most rounds are one call for all vectors, some are a call for each.
    private static func trigger(_ vectors: borrowing InterruptVectors, rounds: Int) throws(KernelError) {
      for round in 0..<rounds {
        if round % 16 != 0 {
          try vectors.trigger(0..<vectorCount)
        } else {
          for vector in 0..<vectorCount { try vectors.trigger(vector..<(vector + 1)) }
        }
      }
    }

    /// Vectors as two threads may hold them, and what the threads met.
    private final class Load: Sendable {
      let vectors: InterruptVectors
      let failures = Mutex<[KernelError]>([])
      init(_ vectors: consuming InterruptVectors) { self.vectors = vectors }

      func start() throws(KernelError) -> OwnedThread {
        try OwnedThread { [self] in
          do throws(KernelError) {
            try InterruptLoadTests.trigger(vectors, rounds: InterruptLoadTests.rounds / 2)
          } catch {
            failures.withLock { $0.append(error) }
          }
        }
      }
    }

    @Test func aBlockingConsumerLosesNothing() throws {
      let device = try LabFunction.open(LabFunction.nvme, LabFunction.anyMode)
      let load = Load(try device.armInterrupts(.msix, count: Self.vectorCount))
      var waiter = try InterruptWaiter()
      for vector in 0..<Self.vectorCount { try waiter.add(load.vectors.take(vector)) }
      var sums = [UInt64](repeating: 0, count: Self.vectorCount)
      do {
        let first = try load.start()
        let second = try load.start()
        let end = Deadline(.seconds(200))
        while sums.reduce(0, +) < UInt64(Self.rounds * Self.vectorCount) {
          try #require(try waiter.wait(until: end) { sums[Int($0)] += $1 } > 0, "\(sums)")
        }
        withExtendedLifetime(first) { withExtendedLifetime(second) {} }
      }
      let rest = try waiter.wait(until: Deadline(.milliseconds(20))) { sums[Int($0)] += $1 }
      #expect(rest == 0)
      #expect(sums == [UInt64](repeating: UInt64(Self.rounds), count: Self.vectorCount))
      #expect(load.failures.withLock { $0 } == [])
    }

    @Test func asynchronousConsumersLoseNothing() async throws {
      let device = try LabFunction.open(LabFunction.nvme, LabFunction.anyMode)
      let reactor = try EventReactor()
      let load = Load(try device.armInterrupts(.msix, count: Self.vectorCount))
      var streams: [EventCounts] = []
      for vector in 0..<Self.vectorCount { streams.append(try load.vectors.take(vector).events(on: reactor)) }
      let first = try load.start()
      let second = try load.start()
      let sums = await withTaskGroup(of: (Int, UInt64).self) { group in
        for (vector, stream) in streams.enumerated() {
          group.addTask {
            var sum: UInt64 = 0
            for await count in stream {
              sum += count
              if sum >= UInt64(Self.rounds) { break }
            }
            return (vector, sum)
          }
        }
        return await group.reduce(into: [UInt64](repeating: 0, count: Self.vectorCount)) { $0[$1.0] = $1.1 }
      }
      withExtendedLifetime(first) { withExtendedLifetime(second) {} }
      #expect(sums == [UInt64](repeating: UInt64(Self.rounds), count: Self.vectorCount))
      #expect(load.failures.withLock { $0 } == [])
    }
  }
}
