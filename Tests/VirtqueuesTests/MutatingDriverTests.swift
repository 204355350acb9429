// SPDX-License-Identifier: Apache-2.0
import DMACore
import Synchronization
import TestSupport
import Testing
import Virtqueues

/// A driver that changes the ring while the device reads it: what was checked is what is used.
@Suite(.serialized, .disabled(if: isThreadSanitized, "the race is the test"))
struct MutatingDriverTests {
  @Test func ofASplitRing() throws {
    let ring = RawRing(isPacked: false)
    let counts = try watch(ring) { () throws(QueueError) in try ring.splitDevice(segmentLimit: 12) }
    #expect(counts.chains > 50 && counts.errors > 50, "\(counts)")
  }

  @Test func ofAPackedRing() throws {
    let ring = RawRing(isPacked: true)
    let counts = try watch(ring) { () throws(QueueError) in try ring.packedDevice(segmentLimit: 12) }
    #expect(counts.chains > 50 && counts.errors > 50, "\(counts)")
  }

  /// Takes chains of one device after another while a thread writes plausible numbers everywhere.
  private func watch<Device: DeviceSide & ~Copyable>(
    _ ring: RawRing, _ make: () throws(QueueError) -> Device
  ) throws -> (chains: Int, errors: Int) {
    let stop = Stop()
    var counts = (chains: 0, errors: 0)
    var random = SeededNumbers(3)
    try inParallel(&random) { random in
      while !stop.flag.load(ordering: .relaxed) { ring.scribble(&random) }
    } here: {
      defer { stop.flag.store(true, ordering: .relaxed) }
      let end = ContinuousClock.now + .milliseconds(500)
      while ContinuousClock.now < end {
        var device = try make()
        do throws(QueueError) {
          for _ in 0..<64 {
            guard let chain = try device.take(through: ring.pages.memory) else { continue }
            counts.chains += 1
            check(chain, device.segments(of: chain))
            device.complete(chain, writtenByteCount: 0)
            _ = device.publish()
          }
        } catch {
          counts.errors += 1
        }
      }
    }
    return counts
  }

  private final class Stop: Sendable { let flag = Atomic(false) }

  /// What holds for every chain that is handed out.
  private func check(_ chain: QueueChain, _ segments: [QueueSegment]) {
    let (readable, writable) = (segments.prefix { !$0.isWritable }, segments.drop { !$0.isWritable })
    let isSound =
      chain.id < 8 && !segments.isEmpty && segments.count <= 12
      && segments.allSatisfy { $0.byteCount > 0 && $0.iova.rawValue <= .max - UInt64($0.byteCount) + 1 }
      && writable.allSatisfy(\.isWritable)
      && readable.count == chain.readableSegmentCount
      && readable.reduce(0) { $0 + UInt64($1.byteCount) } == chain.readableByteCount
      && writable.reduce(0) { $0 + UInt64($1.byteCount) } == chain.writableByteCount
    if !isSound { Issue.record("\(chain) of \(segments)") }
  }
}

extension RawRing {
  /// Writes one plausible thing: a descriptor, of the ring or a table, a head, an index, or one of their parts alone.
  func scribble(_ random: inout SeededNumbers) {
    let number = random.next()
    let index = Int(number & 7)
    let address: UInt64 =
      number & 8 == 0 ? 0x5000 : number & 16 == 0 ? Self.address(Self.tableOffset) : .max - 1000
    let byteCount = [0, 16, 32, 128, 4096, 0xffff_fff0][Int(number >> 8 & 0xff) % 6] as UInt32
    let flags =
      [0, 1, 1, 2, 3, 4, 5, 0x80, 0x81, 0x82, 0x8000, 0x8001][Int(number >> 16 & 0xff) % 12] as UInt16
    let other = UInt16(number >> 24 & 0xf)
    switch (number >> 32) % 12 {
    case 0, 1: descriptor(index, address, byteCount, flags, nextOrID: other)
    case 2, 3: tableDescriptor(index, address, byteCount, flags, next: other)
    case 4: self.flags(flags, of: index)
    case 5, 6: offer(other & 7, UInt16(index), other, index: UInt16(number >> 40 & 3))
    // One that is sound, beside the others.
    default: descriptor(index, 0x6000, 512, 0, nextOrID: UInt16(index))
    }
  }
}
