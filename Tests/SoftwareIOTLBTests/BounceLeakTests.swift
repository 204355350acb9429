// SPDX-License-Identifier: Apache-2.0
import DMACore
import SoftwareIOTLB
import Testing

/// What the device side can see: each byte of the file is looked at, whatever the table says.
@Suite struct BounceLeakTests {
  private let secret: UInt8 = 0xa5

  /// A page once held another buffer's bytes.
  private func pageWithSecret(_ direction: DMADirection) throws -> IOTLBDomain {
    let domain = try IOTLBDomain(IOTLBLayout(bounceByteCount: 8192, limit: IOVA(0x2fff)))
    let buffer = try DriverBuffer(4096, filledWith: secret)
    let slot = try domain.map(buffer, direction)
    if direction == .fromDevice { try RawDeviceSide(of: domain).fill(slot.iova, 4096, with: secret) }
    try domain.unmap(slot)
    try #require(try RawDeviceSide(of: domain).pages(with: secret) == [1])
    try #require(buffer.bytes == [UInt8](repeating: secret, count: 4096))
    return domain
  }

  @Test(arguments: DMADirection.allCases, DMADirection.allCases)
  func aPageHoldsOnlyItsBuffer(first: DMADirection, second: DMADirection) throws {
    for (byteCount, offset) in [(1, 0), (1, 4095), (100, 50), (4095, 0), (4095, 1), (4096, 0)] {
      let domain = try pageWithSecret(first)
      let buffer = try DriverBuffer(byteCount, at: offset, filledWith: 0x11)
      let slot = try domain.map(buffer, second)
      #expect(slot.iova.rawValue >> 12 == 1, "the same page")
      let raw = try RawDeviceSide(of: domain)
      #expect(raw.pages(with: secret) == [], "\(first), then \(byteCount) bytes at \(offset), \(second)")
      let expected: UInt8 = second == .fromDevice ? 0 : 0x11
      let page = raw.bytes(at: IOVA(4096), 4096)
      #expect(
        page.enumerated().allSatisfy { place, byte in
          byte == ((offset..<offset + byteCount).contains(place) ? expected : 0)
        })
      try domain.unmap(slot)
      #expect(buffer.bytes.contains(secret) == false)
    }
  }

  /// The neighbours of a buffer in its own page are not copied with it.
  @Test func aPageHoldsNoNeighbours() throws {
    let domain = try IOTLBDomain(.small)
    let page = try DriverBuffer(8192, filledWith: secret)
    let part = unsafe UnsafeMutableRawBufferPointer(rebasing: page.raw[4000..<4200])
    unsafe part.initializeMemory(as: UInt8.self, repeating: 0x11)
    let slot = try unsafe domain.map(part, .bidirectional)
    #expect(try RawDeviceSide(of: domain).pages(with: secret) == [])
    try domain.unmap(slot)
    #expect(page.bytes.count(where: { $0 == secret }) == 8192 - 200)
  }

  /// A device that writes less than it was given memory for does not hand one driver's bytes to another.
  @Test func whatTheDeviceDidNotWriteIsZero() throws {
    let domain = try pageWithSecret(.toDevice)
    let buffer = try DriverBuffer(4096, filledWith: 0x11)
    let slot = try domain.map(buffer, .fromDevice)
    try IOTLBView(of: domain).write([1, 2, 3], at: slot.iova)
    try domain.unmap(slot)
    #expect(buffer.bytes == [1, 2, 3] + [UInt8](repeating: 0, count: 4093))
  }

  @Test func aResetGivesThePagesBack() throws {
    let domain = try pageWithSecret(.toDevice)
    let buffer = try DriverBuffer(10, filledWith: 0x11)
    let slot = try domain.map(buffer, .toDevice)
    try domain.resetBounceMap()
    #expect(try RawDeviceSide(of: domain).pages(with: 0x11) == [])
    #expect(refusal { () throws(IOTLBError) in try domain.unmap(slot) } == .notMapped)
    let whole = try DriverBuffer(4096, filledWith: 0x22)
    try domain.unmap(try domain.map(whole, .fromDevice))
    #expect(whole.bytes == [UInt8](repeating: 0, count: 4096))
  }
}
