// SPDX-License-Identifier: Apache-2.0
import DMACore
import SoftwareIOTLB
import SystemPackage
import Testing

/// What is copied where, and what is refused.
@Suite struct BounceTests {
  /// Lengths and places in a page: inside one, up to its end, over one border, and over several.
  static let shapes = [
    (1, 0), (64, 100), (4096, 0), (100, 3996), (101, 3996), (4096, 1), (10_000, 0), (10_000, 4095), (2, 4095),
  ]

  @Test(arguments: shapes)
  func toTheDevice(byteCount: Int, offset: Int) throws {
    let domain = try IOTLBDomain(.small)
    let view = try IOTLBView(of: domain)
    let buffer = try DriverBuffer(byteCount, at: offset, filledWith: 7)
    let slot = try domain.map(buffer, .toDevice)
    #expect(slot.byteCount == byteCount && Int(slot.iova.rawValue) % 4096 == offset)
    #expect(try view.bytes(at: slot.iova, byteCount) == buffer.bytes)
    // Changes go at the sync, and only the part that is asked for.
    buffer.bytes = [UInt8](repeating: 8, count: byteCount)
    #expect(try view.bytes(at: slot.iova, byteCount) == [UInt8](repeating: 7, count: byteCount))
    try domain.syncForDevice(slot, byteCount / 2..<byteCount)
    #expect(
      try view.bytes(at: slot.iova, byteCount)
        == [UInt8](repeating: 7, count: byteCount / 2)
        + [UInt8](repeating: 8, count: byteCount - byteCount / 2))
    // Nothing comes back: not at the sync, not at the end, not even what a device wrote that may not.
    try RawDeviceSide(of: domain).fill(slot.iova, byteCount, with: 9)
    try domain.syncForCPU(slot)
    try domain.unmap(slot)
    #expect(buffer.bytes == [UInt8](repeating: 8, count: byteCount))
  }

  @Test(arguments: shapes)
  func fromTheDevice(byteCount: Int, offset: Int) throws {
    let domain = try IOTLBDomain(.small)
    let view = try IOTLBView(of: domain)
    let buffer = try DriverBuffer(byteCount, at: offset, filledWith: 7)
    let slot = try domain.map(buffer, .fromDevice)
    // Nothing goes there: not at the beginning, not at the sync.
    try domain.syncForDevice(slot)
    #expect(try RawDeviceSide(of: domain).pages(with: 7) == [])
    try view.write([UInt8](repeating: 9, count: byteCount), at: slot.iova)
    #expect(buffer.bytes == [UInt8](repeating: 7, count: byteCount))
    try domain.syncForCPU(slot, 0..<byteCount / 2)
    #expect(
      buffer.bytes
        == [UInt8](repeating: 9, count: byteCount / 2)
        + [UInt8](repeating: 7, count: byteCount - byteCount / 2))
    try domain.unmap(slot)
    #expect(buffer.bytes == [UInt8](repeating: 9, count: byteCount))
  }

  @Test(arguments: shapes)
  func bothWays(byteCount: Int, offset: Int) throws {
    let domain = try IOTLBDomain(.small)
    let view = try IOTLBView(of: domain)
    let buffer = try DriverBuffer(byteCount, at: offset, filledWith: 7)
    let slot = try domain.map(buffer, .bidirectional)
    #expect(try view.bytes(at: slot.iova, byteCount) == buffer.bytes)
    try view.write([9], at: slot.iova)
    try domain.unmap(slot)
    #expect(buffer.bytes == [9] + [UInt8](repeating: 7, count: byteCount - 1))
  }

  @Test func theDeviceSideIsRefused() throws {
    let domain = try IOTLBDomain(.small)
    let view = try IOTLBView(of: domain)
    let (read, write) = (try DriverBuffer(100, at: 50), try DriverBuffer(100, at: 50))
    let (to, from) = (try domain.map(read, .toDevice), try domain.map(write, .fromDevice))
    func code(_ iova: IOVA, _ count: Int) -> IOTLBError.Code? {
      refusal { () throws(IOTLBError) in _ = try view.bytes(at: iova, count) }
    }
    #expect(code(to.iova, 100) == nil)
    #expect(code(to.iova, 101) == .pastTheEnd)
    #expect(code(to.iova.advanced(byByteCount: 99), 2) == .pastTheEnd)
    #expect(code(to.iova.advanced(byByteCount: 100), 1) == .notMapped)
    #expect(code(IOVA(to.iova.rawValue - 1), 1) == .notMapped)
    #expect(code(from.iova, 1) == .wrongDirection)
    #expect(refusal { () throws(IOTLBError) in try view.write([1], at: to.iova) } == .wrongDirection)
    for iova: UInt64 in [0, 0x8000, 0x3_ffff, 0x4_0000, 1 << 40, .max] {
      #expect(code(IOVA(iova), 1) == .notMapped)
      #expect(code(IOVA(iova), 5000) == .notMapped)
    }
    try domain.unmap(to)
    #expect(code(to.iova, 100) == .notMapped)
    try domain.unmap(from)
    #expect(write.bytes == read.bytes && view.takeFault() == nil)
  }

  @Test func unmapOfWhatIsNotMapped() throws {
    let domain = try IOTLBDomain(.small)
    let buffer = try DriverBuffer(5000, at: 10)
    let slot = try domain.map(buffer, .bidirectional)
    func code(_ iova: UInt64, _ byteCount: Int, _ direction: DMADirection) -> [IOTLBError.Code?] {
      let name = BounceSlot(iova: IOVA(iova), byteCount: byteCount, direction: direction)
      return [
        refusal { () throws(IOTLBError) in try domain.unmap(name) },
        refusal { () throws(IOTLBError) in try domain.syncForCPU(name) },
        refusal { () throws(IOTLBError) in try domain.syncForDevice(name) },
      ]
    }
    let start = slot.iova.rawValue
    // 2^48 has no room in the table's word.
    for byteCount in [0, 1, 4999, 5001, -1, 5000 + 1 << 48, .min, .max] {
      #expect(code(start, byteCount, .bidirectional) == [.wrongSize, .wrongSize, .wrongSize])
    }
    #expect(code(start, 5000, .toDevice) == [.wrongDirection, .wrongDirection, .wrongDirection])
    for iova in [start + 1, start - 10, start + 4086, start + 8192, 0, 0x1_0000, 0x3_0000, 1 << 40, .max] {
      #expect(code(iova, 5000, .bidirectional) == [.notMapped, .notMapped, .notMapped])
    }
    for bytes in [-1..<5, 0..<5001, 4999..<5002] {
      #expect(refusal { () throws(IOTLBError) in try domain.syncForCPU(slot, bytes) } == .pastTheEnd)
      #expect(refusal { () throws(IOTLBError) in try domain.syncForDevice(slot, bytes) } == .pastTheEnd)
    }
    try domain.unmap(slot)
    #expect(buffer.bytes == [UInt8](repeating: 0, count: 5000))
    #expect(code(start, 5000, .bidirectional) == [.notMapped, .notMapped, .notMapped])
  }

  @Test func doubleMapAndBadAddresses() throws {
    let domain = try IOTLBDomain(.small)
    let buffer = try DriverBuffer(5000, at: 10)
    let slot = try domain.map(buffer, .toDevice, at: IOVA(0x400a))
    #expect(slot.iova == IOVA(0x400a))
    func code(_ iova: UInt64) -> IOTLBError.Code? {
      refusal { () throws(IOTLBError) in
        try domain.unmap(try domain.map(buffer, .toDevice, at: IOVA(iova)))
      }
    }
    #expect(
      code(0x400a) == .alreadyMapped && code(0x300a) == .alreadyMapped && code(0x500a) == .alreadyMapped)
    #expect(code(0x6000) == .badAddress && code(0x600b) == .badAddress)
    #expect(code(0xa) == .badAddress && code(0xf00a) == .badAddress && code(0x2_000a) == .badAddress)
    #expect(code(.max - 4085) == .badAddress)
    #expect(code(0x600a) == nil && code(0x200a) == nil)
    // The same buffer twice is two mappings.
    let second = try domain.map(buffer, .toDevice)
    #expect(second.iova != slot.iova)
    try domain.unmap(second)
    try domain.unmap(slot)
  }

  @Test func exhaustionAndWrongSizes() throws {
    let domain = try IOTLBDomain(.small)
    let page = try DriverBuffer(4096)
    var slots: [BounceSlot] = []
    for _ in 0..<15 { slots.append(try domain.map(page, .toDevice)) }
    let error = #expect(throws: IOTLBError.self) { try domain.map(page, .toDevice) }
    #expect(error?.code == .exhausted && error?.errno == .noSpace && error?.byteCount == 4096)
    try domain.unmap(slots.removeFirst())
    slots.append(try domain.map(page, .toDevice))
    for slot in slots { try domain.unmap(slot) }
    let largest = try DriverBuffer(15 * 4096)
    try domain.unmap(try domain.map(largest, .bidirectional))
    #expect(largest.bytes == [UInt8](repeating: 0, count: 15 * 4096))
    for (byteCount, offset) in [(15 * 4096, 1), (15 * 4096 + 1, 0), (1 << 20, 0)] {
      let buffer = try DriverBuffer(byteCount, at: offset)
      #expect(refusal { () throws(IOTLBError) in _ = try domain.map(buffer, .toDevice) } == .wrongSize)
    }
    let none = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
    #expect(refusal { () throws(IOTLBError) in _ = try unsafe domain.map(none, .toDevice) } == .wrongSize)
    let empty = unsafe UnsafeMutableRawBufferPointer(start: page.raw.baseAddress, count: 0)
    #expect(refusal { () throws(IOTLBError) in _ = try unsafe domain.map(empty, .toDevice) } == .wrongSize)
  }
}
