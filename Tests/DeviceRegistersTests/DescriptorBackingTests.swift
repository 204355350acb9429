// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import Foundation
import LinuxHandles
import SystemPackage
import Testing

/// A file of 3 pages stands for a device: its region begins at the second page, whose first half is reached
/// by calls and whose second page is mapped.
private final class FileDevice: Sendable {
  let file: OwnedDescriptor

  init() throws {
    let path = "/tmp/swift-vfio-\(UUID().uuidString)"
    defer { unsafe unlink(path) }
    file = OwnedDescriptor(adopting: unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600))
    try #require(ftruncate(file.rawValue, 3 * 4096) == 0)
  }

  func bytes(at fileOffset: UInt64, count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    _ = try file.read(into: &raw, atFileOffset: fileOffset)
    return bytes
  }

  func backing(mapping: Bool) throws -> DescriptorBacking {
    var areas = AreaList()
    if mapping {
      areas.append(
        MappedArea(
          byteOffset: 4096, memory: try MappedMemory.sharing(file, offset: 2 * 4096, byteCount: 4096)))
    }
    return DescriptorBacking(
      parent: self, descriptor: file.rawValue, fileOffset: 4096, subject: "BAR0", areas: areas)
  }
}

@Suite struct DescriptorBackingTests {
  @Test func callsReachTheRestOfTheRegion() throws {
    let device = try FileDevice()
    let window = try device.backing(mapping: true).window(byteCount: 8192)
    #expect(window.mappedByteOffset == 4096 && window.mappedByteCount == 4096)
    window.store(UInt32(0x0403_0201), at: 8)
    #expect(try device.bytes(at: 4096 + 8, count: 5) == [1, 2, 3, 4, 0])
    let word = window.load(UInt16.self, at: 10)
    #expect(word == 0x0403)
    window.store(UInt64(0x1122_3344_5566_7788), at: 4096)
    #expect(try device.bytes(at: 8192, count: 8) == [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11])
    let fault = window.takeFault()
    #expect(fault == nil)
  }

  @Test func aDetachedWindowReadsOnesAndSaysSoForGood() throws {
    let device = try FileDevice()
    let backing = try device.backing(mapping: true)
    let window = backing.window(byteCount: 8192)
    window.store(UInt32(7), at: 4096)
    try backing.detachFromDevice()
    for _ in 0..<2 {
      #expect(window.load(UInt32.self, at: 4096) == .max)
      #expect(window.takeFault()?.isRevokedAccess == true)
    }
    #expect(try device.bytes(at: 8192, count: 4) == [7, 0, 0, 0])
  }

  @Test func aMappedPlaceIsAlwaysReachedThroughTheMapping() throws {
    let device = try FileDevice()
    let backing = try device.backing(mapping: true)
    // With the file cut short, pread of the place would fail, and so it does just before it.
    try backing.store(0x5a, at: 4096, byteWidth: 1)
    for (width, value): (Int, UInt64) in [
      (1, 0xfe), (2, 0xfedc), (4, 0xfedc_ba98), (8, 0xfedc_ba98_7654_3210),
    ] {
      try backing.store(value, at: 4096 + 64, byteWidth: width)
      #expect(try backing.load(at: 4096 + 64, byteWidth: width) == value)
    }
  }

  @Test func withoutAMappingAllIsCalls() throws {
    let device = try FileDevice()
    let window = try device.backing(mapping: false).window(byteCount: 8192)
    #expect(window.mappedByteCount == 0)
    window.store(UInt8(7), at: 8191)
    #expect(try device.bytes(at: 3 * 4096 - 1, count: 1) == [7])
    let value = window.load(UInt8.self, at: 8191)
    #expect(value == 7)
  }

  @Test func aShortReadIsAFaultAndAllOnes() throws {
    let device = try FileDevice()
    let window = try device.backing(mapping: false).window(byteCount: 1 << 20)
    let value = window.load(UInt32.self, at: 8192)
    #expect(value == .max)
    let fault = window.takeFault()
    #expect(fault?.errno == .ioError && fault?.subject == "BAR0 at 8192")
    #expect(fault?.remedy?.contains("0 of 4 bytes") == true)
  }

  @Test func theKernelsRefusalIsAFault() throws {
    let device = try FileDevice()
    let null = try OwnedDescriptor.open("/dev/null", for: .read)
    let backing = DescriptorBacking(
      parent: device, descriptor: null.rawValue, fileOffset: 0, subject: "BAR1", areas: AreaList())
    let window = backing.window(byteCount: 64)
    window.store(UInt32(1), at: 4)  // open for reading only
    let fault = window.takeFault()
    #expect(fault?.operation == "pwrite" && fault?.errno == .badFileDescriptor)
  }

  @Test func aWindowKeepsTheDeviceOpen() throws {
    weak var weakDevice: FileDevice?
    do {
      let window: RegisterWindow
      do {
        let device = try FileDevice()
        weakDevice = device
        window = try device.backing(mapping: true).window(byteCount: 8192)
      }
      #expect(weakDevice != nil)
      let value = window.load(UInt8.self, at: 0)
      #expect(value == 0)
    }
    #expect(weakDevice == nil)
  }
}
