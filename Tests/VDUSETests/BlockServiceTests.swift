// SPDX-License-Identifier: Apache-2.0
import DMACore
import Foundation
import Testing
import VDUSE
import VDUSEBlock
import Virtqueues

/// What a disk makes of requests that no driver in order sends.
@Suite struct BlockServiceTests {
  private static let sectorCount = 64

  private let image = DiskImage(nullByteCount: UInt64(sectorCount * 512))

  /// A request's head: type, reserved, sector.
  private static func head(_ kind: UInt32, _ sector: UInt64 = 0) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: kind >> (8 * $0)) } + [0, 0, 0, 0]
      + (0..<8).map { UInt8(truncatingIfNeeded: sector >> (8 * $0)) }
  }

  /// A range to discard, or to make zeroes: sector, number of sectors, flags.
  private static func range(_ sector: UInt64, _ count: UInt32, _ flags: UInt32 = 0) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: sector >> (8 * $0)) }
      + (0..<4).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) }
      + (0..<4).map { UInt8(truncatingIfNeeded: flags >> (8 * $0)) }
  }

  /// What the driver reads, how much it wants, and the status that it gets.
  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let readable: [UInt8]
    let writable: Int
    let status: UInt8
  }

  static let cases: [Case] = {
    func bad(_ what: String, _ readable: [UInt8], _ writable: Int, _ status: UInt8 = 1) -> Case {
      Case(testDescription: what, readable: readable, writable: writable, status: status)
    }
    let end = UInt64(sectorCount)
    return [
      bad("a head cut short", Array(head(0).prefix(15)), 513),
      bad("no head", [], 1),
      bad("half a sector read", head(0), 257),
      bad("half a sector written", head(1) + [UInt8](repeating: 1, count: 256), 1),
      bad("a read beyond the end", head(0, end), 513),
      bad("a read over the end", head(0, end - 1), 1025),
      bad("a read at the end of numbers", head(0, .max), 513),
      bad("a write at the end of numbers", head(1, .max) + [UInt8](repeating: 1, count: 512), 1),
      bad("no room for the name", head(8), 20),
      bad("half a range", head(11) + range(0, 8).prefix(8), 1),
      bad("two ranges", head(11) + range(0, 8) + range(8, 8), 1),
      bad("a range of nothing", head(11) + range(0, 0), 1),
      bad("a range over the end", head(11) + range(end - 1, 2), 1),
      bad("a range at the end of numbers", head(13) + range(.max, .max), 1),
      bad("more zeroes than the limit", head(13) + range(0, 1 << 16), 1),
      bad("a discard with a flag", head(11) + range(0, 8, 1), 1, 2),
      bad("an unknown flag", head(13) + range(0, 8, 2), 1, 2),
      bad("an unknown kind", head(99), 1, 2),
      // And what is in order.
      bad("a read", head(0, end - 1), 513, 0),
      bad("a flush", head(4), 1, 0),
      bad("zeroes", head(13) + range(0, 8, 1), 1, 0),
    ]
  }()

  @Test(arguments: cases, [false, true])
  func everyRequestGetsItsStatus(_ request: Case, _ isPacked: Bool) throws {
    let guest = try GuestQueue(isPacked: isPacked)
    var queue = try guest.serve()
    let service = BlockService(image, identity: "t")
    #expect(guest.offer(0, readable: request.readable, writable: request.writable))
    #expect(try service.serve(&queue) == .chains)
    let used = try #require(try guest.takeUsed())
    #expect(used.bytes.count <= request.writable)
    #expect(guest.memoryByte(0, at: request.readable.count + request.writable - 1) == request.status)
  }

  /// A status that lies where nothing is mapped: the driver would read what was there before.
  @Test(arguments: [false, true])
  func aRequestWithoutAPlaceForItsStatusIsNotGivenBack(_ isPacked: Bool) throws {
    let guest = try GuestQueue(isPacked: isPacked)
    var queue = try guest.serve()
    #expect(guest.offer(0, readable: Self.head(4), writable: 1, at: 0xdead_0000))
    let error = #expect(throws: QueueError.self) {
      try BlockService(image, identity: "t").serve(&queue)
    }
    #expect(error?.code == .pieceUnmapped && error?.value == 0xdead_0010)
    #expect(try guest.takeUsed() == nil)
  }
}
