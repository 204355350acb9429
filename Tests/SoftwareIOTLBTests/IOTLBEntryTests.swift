// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import DMACore
import Glibc
import LinuxHandles
import SoftwareIOTLB
import SystemPackage
import Testing

/// Which file has the bytes of an address, and what is behind it.
@Suite struct IOTLBEntryTests {
  private func range(_ start: UInt64, _ last: UInt64) -> IOVARange {
    IOVARange(start: IOVA(start), last: IOVA(last))
  }

  private func file(_ byteCount: Int, filledWith byte: UInt8 = 0) throws -> IOTLBFile {
    let file = try OwnedDescriptor(
      adopting: kernelCall("memfd_create") { unsafe abi_memfd_create("guest") })
    let fd = file.rawValue
    try kernelCall("ftruncate") { ftruncate(fd, byteCount) }
    let mapping = try MappedMemory.sharing(file, offset: 0, byteCount: byteCount)
    unsafe _ = memset(mapping.baseAddress, CInt(byte), byteCount)
    return IOTLBFile(adopting: file)
  }

  @Test func aProcessThatLooksUpFindsTheBytes() throws {
    let domain = try IOTLBDomain(.small)
    let buffer = try DriverBuffer(100, at: 77, filledWith: 5)
    let slot = try domain.map(buffer, .toDevice)
    let ring = try domain.allocCoherent(byteCount: 4096)
    ring.store(UInt8(6), at: 9)
    for (iova, expected): (IOVA, UInt8) in [(slot.iova, 5), (ring.iova(at: 9), 6)] {
      let entry = try #require(domain.lookup(IOVARange(start: iova, last: iova)))
      let count = Int(entry.range.byteCountMinusOne) + 1
      let mapping = try MappedMemory.sharing(
        entry.file.duplicate(), offset: entry.fileOffset, byteCount: count)
      let place = Int(iova.rawValue - entry.range.start.rawValue)
      #expect(unsafe mapping.baseAddress.load(fromByteOffset: place, as: UInt8.self) == expected)
      #expect(entry.access == .readWrite)
    }
    #expect(domain.entries.map(\.range) == [range(0x1000, 0xffff), range(0x1_0000, 0x1_0fff)])
    #expect(domain.lookup(range(0xf000, 0x2_0000))?.range == range(0x1000, 0xffff))
    #expect(domain.lookup(range(0x1_1000, .max)) == nil && domain.lookup(range(0, 0xfff)) == nil)
    try domain.freeCoherent(ring)
    #expect(domain.lookup(range(0x1_0000, .max)) == nil)
    try domain.unmap(slot)
  }

  @Test func theFileKeepsItsLength() throws {
    let domain = try IOTLBDomain(.small)
    let fd = try domain.file.duplicate()
    #expect(ftruncate(fd.rawValue, 0) == -1 && errno == EPERM)
  }

  @Test func otherFilesAreSetAndCleared() throws {
    let domain = try IOTLBDomain(.small)
    let view = try IOTLBView(of: domain)
    let guest = try file(12288, filledWith: 3)
    let inside = IOTLBEntry(range: range(0x2_0000, 0x2_0fff), access: .read, file: guest, fileOffset: 4096)
    let beyond = IOTLBEntry(
      range: range(1 << 40, 1 << 40 + 0x1fff), access: .readWrite, file: guest, fileOffset: 0)
    try domain.setMap([beyond, inside])
    #expect(domain.entries.dropFirst() == [inside, beyond])
    #expect(try view.bytes(at: IOVA(0x2_0ff0), 16) == [UInt8](repeating: 3, count: 16))
    try view.write([4], at: IOVA(1 << 40 + 0x1000))
    #expect(try view.bytes(at: IOVA(0x2_0000), 2) == [4, 3])
    #expect(refusal { () throws(IOTLBError) in try view.write([1], at: IOVA(0x2_0000)) } == .wrongDirection)
    #expect(
      refusal { () throws(IOTLBError) in try view.write([1, 2], at: IOVA(1 << 40 + 0x1fff)) } == .pastTheEnd)
    // Nothing else gets an address that is set, nor the other way.
    func exposeThere() throws(KernelError) {
      _ = try domain.expose(UnsharedMemory(byteCount: 4096), access: .read, at: IOVA(0x2_0000))
    }
    let taken = #expect(throws: KernelError.self) { try exposeThere() }
    #expect(taken?.errno == .fileExists)
    domain.clearMap()
    #expect(refusal { () throws(IOTLBError) in _ = try view.bytes(at: IOVA(0x2_0000), 1) } == .notMapped)
    #expect(refusal { () throws(IOTLBError) in _ = try view.bytes(at: IOVA(1 << 40), 1) } == .notMapped)
    try exposeThere()
  }

  @Test func entriesThatCannotBeSet() throws {
    let domain = try IOTLBDomain(.small)
    let guest = try file(8192)
    let ring = try domain.allocCoherent(byteCount: 4096)
    func errno(_ ranges: [IOVARange], offset: UInt64 = 0) -> Errno? {
      do throws(KernelError) {
        try domain.setMap(
          ranges.map { IOTLBEntry(range: $0, access: .read, file: guest, fileOffset: offset) })
        return nil
      } catch {
        return error.errno
      }
    }
    let good = range(0x2_0000, 0x2_0fff)
    #expect(errno([good]) == nil && domain.lookup(good) != nil)
    #expect(errno([good, range(0x1000, 0x1fff)]) == .invalidArgument)
    #expect(domain.lookup(good) == nil, "where one fails, none are set")
    #expect(errno([range(0x2_0800, 0x2_17ff)]) == .invalidArgument)
    #expect(errno([range(0x2_0000, 0x2_07ff)]) == .invalidArgument)
    #expect(errno([range(0, .max)]) == .invalidArgument)
    #expect(errno([good], offset: 1) == .invalidArgument)
    #expect(errno([good, good]) == .fileExists)
    #expect(errno([range(ring.iova.rawValue, ring.iova.rawValue + 4095)]) == .fileExists)
    #expect(errno([good]) == nil)
  }

  /// A backing file that gets shorter ends no process.
  @Test func aVanishedFileIsAnError() throws {
    let domain = try IOTLBDomain(.small)
    let view = try IOTLBView(of: domain)
    let guest = try file(8192, filledWith: 3)
    try domain.setMap([
      IOTLBEntry(range: range(0x2_0000, 0x2_1fff), access: .readWrite, file: guest, fileOffset: 0)
    ])
    #expect(try view.bytes(at: IOVA(0x2_1000), 1) == [3])
    let fd = try guest.duplicate()
    #expect(ftruncate(fd.rawValue, 4096) == 0)
    #expect(refusal { () throws(IOTLBError) in _ = try view.bytes(at: IOVA(0x2_1000), 1) } == .vanished)
    #expect(refusal { () throws(IOTLBError) in try view.write([1], at: IOVA(0x2_1000)) } == .vanished)
    #expect(try view.bytes(at: IOVA(0x2_0000), 1) == [3])
    #expect(ftruncate(fd.rawValue, 8192) == 0)
    #expect(try view.bytes(at: IOVA(0x2_1000), 1) == [0])
  }
}
