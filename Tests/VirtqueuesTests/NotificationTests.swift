// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import Synchronization
import TestSupport
import Testing
import Virtqueues

/// Two threads that sleep whenever they may: a notification that gets lost leaves both asleep.
@Suite(
  .serialized, .disabled(if: isThreadSanitized, "ThreadSanitizer knows no barriers between the two sides"))
struct NotificationTests {
  @Test(arguments: QueueKind.all)
  func noneGetsLost(kind: QueueKind) throws {
    var exchange = SleepingExchange(chainCount: 4000)
    try kind.run(&exchange)
  }
}

/// One side on each thread; each takes what there is, and sleeps when its queue lets it.
struct SleepingExchange: QueueScenario {
  let chainCount: Int
  private static let patience = Duration.seconds(20)

  init(chainCount: Int) { self.chainCount = chainCount }

  /// What the two threads share besides the ring.
  private final class Wires: Sendable {
    let kick, interrupt: EventFD
    let failure = Mutex<String?>(nil)
    let sleeps = Atomic<Int>(0)

    init() throws {
      kick = try EventFD()
      interrupt = try EventFD()
    }

    /// Sleeps until the wire is used.
    /// - Returns: False when it is not.
    func sleep(_ wire: borrowing EventFD, _ who: String) -> Bool {
      sleeps.add(1, ordering: .relaxed)
      do {
        guard try wire.wait(for: SleepingExchange.patience) else {
          failure.withLock { $0 = "\(who) sleeps for ever" }
          return false
        }
        _ = try wire.take()
        return true
      } catch {
        failure.withLock { $0 = "\(who): \(error)" }
        return false
      }
    }
  }

  func run<Driver: DriverSide & ~Copyable, Device: DeviceSide & ~Copyable>(
    _ driver: inout Driver, _ device: inout Device, _ memory: RingMemory
  ) throws {
    let wires = try Wires()
    let chainCount = chainCount
    try inParallel(&device) { device in
      do throws(QueueError) {
        try Self.serve(&device, memory, chainCount, wires)
      } catch {
        wires.failure.withLock { $0 = "device: \(error)" }
        wires.interrupt.wake()
      }
    } here: {
      try Self.drive(&driver, chainCount, wires)
    }
    let failure = wires.failure.withLock { $0 }
    #expect(failure == nil)
    #expect(wires.sleeps.load(ordering: .relaxed) > 0, "nobody ever slept, so nothing was tested")
  }

  private static func serve<Device: DeviceSide & ~Copyable>(
    _ device: inout Device, _ memory: RingMemory, _ chainCount: Int, _ wires: Wires
  ) throws(QueueError) {
    var random = SeededNumbers(1)
    var done = 0
    while done < chainCount {
      if random.next() & 1 == 0 { device.disarmKicks() }
      var count = 0
      while let chain = try device.take(through: memory) {
        device.complete(chain, writtenByteCount: 1)
        count += 1
        if random.next() & 3 == 0, device.publish() { wires.interrupt.wake() }
      }
      if device.publish() { wires.interrupt.wake() }
      done += count
      if done < chainCount, device.armKicks(), !wires.sleep(wires.kick, "the device") { return }
    }
  }

  private static func drive<Driver: DriverSide & ~Copyable>(
    _ driver: inout Driver, _ chainCount: Int, _ wires: Wires
  ) throws {
    let piece = QueueSegment(iova: IOVA(0x1000), byteCount: 8, isWritable: true)
    let pieces = [[piece], [piece, piece], [piece, piece, piece]]
    var random = SeededNumbers(2)
    var (added, returned) = (0, 0)
    while returned < chainCount {
      if random.next() & 1 == 0 { driver.disarmInterrupts() }
      var room = random.next() % 8 + 1
      while room > 0, added < chainCount, driver.add(pieces[added % 3], token: UInt64(added)) {
        added += 1
        room -= 1
      }
      if driver.publish() { wires.kick.wake() }
      while let used = try driver.takeUsed() {
        try #require(used.token == UInt64(returned) && used.writtenByteCount == 1)
        returned += 1
      }
      if returned < chainCount, driver.inFlightCount > 0, driver.armInterrupts(),
        !wires.sleep(wires.interrupt, "the driver")
      {
        wires.kick.wake()
        return
      }
    }
  }
}
