// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceSimulation
import DriverCore
import Glibc
import LinuxHandles
import Synchronization
import Testing

/// Many transfers in one go: the places that a model is lent.
@Suite struct DeviceReachTests {
  /// The first word of a transfer, where the device may do it.
  private func word(
    _ port: any DevicePort, _ iova: IOVA, _ byteCount: Int, _ access: DMAAccess
  ) -> UInt32? {
    var found: UInt32?
    let isLent = port.withReach { reach in
      found = unsafe reach.place(of: iova, byteCount: byteCount, for: access)?
        .loadUnaligned(as: UInt32.self)
    }
    #expect(isLent)
    return found
  }

  private func page(
    _ number: Int, in probe: borrowing Probe, _ access: DMAAccess, _ sharing: DMASharing = .coherent
  ) throws -> DMAMemory {
    let memory = try probe.space.expose(
      UnsharedMemory(byteCount: 4096), access: access, sharing: sharing, at: IOVA(UInt64(number) << 12))
    for place in stride(from: 0, to: 4096, by: 4) { memory.store(UInt32(number), at: place) }
    return memory
  }

  @Test func transfersInsideOneMappingAreFound() throws {
    let probe = try Probe()
    let third = try page(3, in: probe, .readWrite)
    let first = try page(1, in: probe, .read)
    let fourth = try page(4, in: probe, .write)
    for access in [DMAAccess.read, .write] {
      #expect(word(probe.port, third.iova, 4096, access) == 3)
      #expect(word(probe.port, third.iova(at: 4092), 4, access) == 3)
    }
    #expect(word(probe.port, first.iova, 4096, .read) == 1)
    #expect(word(probe.port, fourth.iova, 1, .write) == 4)
    // Against the direction; past the end, with a neighbour and without; nothing there; nothing at all.
    #expect(word(probe.port, first.iova, 4, .write) == nil)
    #expect(word(probe.port, fourth.iova, 4, .read) == nil)
    #expect(word(probe.port, third.iova(at: 4092), 5, .write) == nil)
    #expect(word(probe.port, fourth.iova(at: 1), 4096, .write) == nil)
    for address: UInt64 in [0, 0xfff, 0x2000, 0x5000, .max] {
      #expect(word(probe.port, IOVA(address), 1, .read) == nil)
    }
    #expect(word(probe.port, third.iova, 0, .read) == nil)
    #expect(word(probe.port, third.iova, .max, .read) == nil)
    #expect(probe.space.faults.isEmpty, "who asks goes on in the way that keeps faults")
  }

  @Test func severalTransfersFindTheirOwn() throws {
    let probe = try Probe()
    let pages = [try Shared(page(2, in: probe, .read)), try Shared(page(3, in: probe, .read))]
    var found: [UInt32] = []
    _ = probe.port.withReach { reach in
      for index in [0, 1, 1, 0, 1] {
        if let place = unsafe reach.place(of: pages[index].memory.iova, byteCount: 8, for: .read) {
          found.append(unsafe place.load(as: UInt32.self))
        }
      }
    }
    #expect(found == [2, 3, 3, 2, 3])
  }

  private final class Shared {
    let memory: DMAMemory
    init(_ memory: consuming DMAMemory) { self.memory = memory }
  }

  @Test func streamingMemoryIsTheDevicesSide() throws {
    let probe = try Probe()
    let memory = try page(7, in: probe, .readWrite, .streaming)
    #expect(word(probe.port, memory.iova, 4, .read) == 0)
    memory.syncForDevice()
    #expect(word(probe.port, memory.iova, 4, .read) == 7)
  }

  @Test func withoutBusMasterNothingIsLent() throws {
    let probe = try Probe()
    let memory = try page(1, in: probe, .read)
    try probe.function.setBusMaster(false)
    #expect(!probe.port.withReach { _ in Issue.record("lent") })
    #expect(probe.port.readBytes(at: memory.iova, byteCount: 4) == nil)
    #expect(probe.space.takeFaults().map(\.reason) == [.busMasterOff])
    try probe.function.setBusMaster(true)
    #expect(word(probe.port, memory.iova, 4, .read) == 1)
    probe.function.remove()
    #expect(!probe.port.withReach { _ in Issue.record("lent") })
  }

  @Test func unmappingWaits() throws {
    let probe = try Probe()
    let space = probe.space
    let base = try MappedMemory.anonymous(byteCount: 4096)
    let range = IOVARange(start: IOVA(0x1000), last: IOVA(0x1fff))
    try unsafe space.mapPages(base.baseAddress, to: range, access: .read, sharing: .coherent)
    let log = Log()
    let thread = try OwnedThread {
      while log.lines.isEmpty { sched_yield() }
      _ = try? space.unmapPages(range)
      log.note("unmapped")
    }
    _ = probe.port.withReach { _ in
      log.note("lent")
      _ = try? Deadline(.milliseconds(20)).poll("nothing") { false }
      log.note("given back")
    }
    _ = consume thread
    #expect(log.lines == ["lent", "given back", "unmapped"])
  }

  /// A model that has its turn may be in the middle of transfers.
  @Test func busMasterGoesOffBetweenTurns() throws {
    let probe = try Probe()
    let memory = try page(1, in: probe, .read)
    let log = Log()
    let port = probe.port
    let thread = try OwnedThread {
      _ = port.takeTurn {
        log.note("begins")
        _ = try? Deadline(.milliseconds(20)).poll("nothing") { false }
        log.note("ends")
      }
    }
    while log.lines.isEmpty { sched_yield() }
    try probe.function.setBusMaster(false)
    log.note("off")
    _ = consume thread
    #expect(log.lines == ["begins", "ends", "off"])
    #expect(port.readBytes(at: memory.iova, byteCount: 4) == nil)
  }

  private final class Log: Sendable {
    private let noted = Mutex<[String]>([])
    var lines: [String] { noted.withLock { $0 } }
    func note(_ line: String) { noted.withLock { $0.append(line) } }
  }

  @Test func turnsEndWithRemoval() throws {
    let probe = try Probe()
    var count = 0
    #expect(probe.port.takeTurn { count += 1 })
    probe.function.remove()
    #expect(!probe.port.takeTurn { count += 1 })
    #expect(count == 1)
  }
}
