// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import DMACore
import Foundation
import LinuxHandles
import Synchronization
import Testing
import VDUSE

/// The IOTLB over files in memory, which stand for the kernel's.
@Suite struct IOTLBTests {
  /// Entries of 64 KiB from 0x10000 on, every other one read-only, with a gap after each four; counts what is asked.
  final class Kernel: Sendable {
    let asked = Mutex<[UInt64]>([])
    static let byteCount: UInt64 = 0x10000

    func entry(_ range: IOVARange) throws(KernelError) -> IOTLBMapping? {
      asked.withLock { $0.append(range.start.rawValue) }
      let index = range.start.rawValue / Self.byteCount
      guard index > 0, index % 5 != 0 else { return nil }
      let start = index * Self.byteCount
      let file = OwnedDescriptor(
        adopting: try kernelCall("memfd_create") {
          unsafe abi_memory_file("iotlb", CInt(truncatingIfNeeded: index), Self.byteCount)
        })
      let entry = IOTLBEntry(
        range: IOVARange(start: IOVA(start), last: IOVA(start + Self.byteCount - 1)), fileOffset: 0,
        access: index % 2 == 0 ? .readWrite : .read)
      return try IOTLBMapping(IOTLBFile(entry: entry, descriptor: file), addressSpace: 0)
    }

    func iotlb() -> IOTLB {
      IOTLB { (range, _) throws(KernelError) in try self.entry(range) }
    }
  }

  private static func byte(
    _ cache: borrowing IOTLBCache, _ address: UInt64, _ count: Int, writable: Bool = false
  )
    -> UInt8?
  {
    unsafe cache.bytes(at: IOVA(address), byteCount: count, writable: writable).map {
      unsafe $0.load(as: UInt8.self)
    }
  }

  @Test func addressesAreFoundWithTheirAccess() {
    let kernel = Kernel()
    let iotlb = kernel.iotlb()
    let cache = IOTLBCache(of: iotlb, addressSpace: 0)
    for _ in 0..<3 {
      #expect(Self.byte(cache, 0x20000, 1) == 2 && Self.byte(cache, 0x2ffff, 1) == 2)
      #expect(
        Self.byte(cache, 0x10000, 0x10000) == 1 && Self.byte(cache, 0x20000, 0x10000, writable: true) == 2)
      #expect(Self.byte(cache, 0x10000, 1, writable: true) == nil, "read-only")
      #expect(Self.byte(cache, 0x2ffff, 2) == nil, "into the next entry")
      #expect(Self.byte(cache, 0x50000, 1) == nil && Self.byte(cache, 0, 1) == nil, "nobody mapped it")
      #expect(Self.byte(cache, .max, 1) == nil && Self.byte(cache, .max, 2) == nil)
      #expect(Self.byte(cache, 0x20000, 0) == nil && Self.byte(cache, 0x20000, .max) == nil)
    }
    #expect(iotlb.count == 2)
    let asked = kernel.asked.withLock { $0.filter { $0 >= 0x10000 && $0 < 0x30000 } }
    #expect(asked.count == 2, "each entry once")
  }

  @Test func aRunEndsWithItsEntry() {
    let cache = IOTLBCache(of: Kernel().iotlb(), addressSpace: 0)
    #expect(unsafe cache.run(at: IOVA(0x2fff0), byteCount: 0x40, writable: false)?.count == 0x10)
    #expect(unsafe cache.run(at: IOVA(0x30000), byteCount: 0x30, writable: false)?.count == 0x30)
    #expect(
      unsafe cache.run(at: IOVA(0x4fff0), byteCount: 0x40, writable: false)?.count == 0x10, "a gap follows")
    #expect(unsafe cache.run(at: IOVA(0x50000), byteCount: 1, writable: false) == nil)
  }

  /// More entries than a cache has lines: each stays mapped until the cache is cleared.
  @Test func whatIsPushedOutStaysMapped() {
    let iotlb = Kernel().iotlb()
    let cache = IOTLBCache(of: iotlb, addressSpace: 0)
    let first = unsafe cache.bytes(at: IOVA(0x10000), byteCount: 1, writable: false)
    for index in 1..<60 as Range<UInt64> where index % 5 != 0 {
      #expect(Self.byte(cache, index << 16, 1) == UInt8(index))
    }
    iotlb.forgetAll()
    #expect(iotlb.count == 0)
    #expect(unsafe first?.load(as: UInt8.self) == 1, "the cache still has it")
    cache.clear()
  }

  @Test func whatIsForgottenIsAskedAnew() {
    let kernel = Kernel()
    let iotlb = kernel.iotlb()
    let cache = IOTLBCache(of: iotlb, addressSpace: 0)
    #expect(Self.byte(cache, 0x10000, 1) == 1 && Self.byte(cache, 0x20000, 1) == 2)
    iotlb.forget(IOVARange(start: IOVA(0x10000), last: IOVA(0x10fff)), addressSpace: 1)
    #expect(iotlb.count == 2, "another address space")
    iotlb.forget(IOVARange(start: IOVA(0x10000), last: IOVA(0x10fff)), addressSpace: 0)
    #expect(iotlb.count == 1)
    cache.clear()
    #expect(Self.byte(cache, 0x10000, 1) == 1 && Self.byte(cache, 0x20000, 1) == 2)
    #expect(kernel.asked.withLock { $0 } == [0x10000, 0x20000, 0x10000])
  }

  /// An answer that the kernel gave before an update is not kept.
  @Test func anAnswerFromBeforeAnUpdateIsNotKept() throws {
    let kernel = Kernel()
    let update = Update()
    let iotlb = IOTLB { (range, _) throws(KernelError) in
      let mapping = try kernel.entry(range)
      update.comeOnce()
      return mapping
    }
    update.iotlb.withLock { $0 = iotlb }
    #expect(try iotlb.mapping(at: IOVA(0x10000), addressSpace: 0) != nil)
    #expect(kernel.asked.withLock { $0.count } == 2, "asked again")
  }

  /// Forgets everything, the first time it comes.
  private final class Update: Sendable {
    let iotlb = Mutex<IOTLB?>(nil)
    func comeOnce() { iotlb.withLock { $0.take() }?.forgetAll() }
  }

  /// A file that was cut short does not end the process.
  @Test func aPageThatIsGoneReadsAsOnes() throws {
    let file = OwnedDescriptor(adopting: unsafe abi_memory_file("iotlb", 7, 0x2000))
    let entry = IOTLBEntry(
      range: IOVARange(start: IOVA(0), last: IOVA(0x1fff)), fileOffset: 0, access: .readWrite)
    try #require(ftruncate(file.rawValue, 0x1000) == 0)
    let mapping = try IOTLBMapping(IOTLBFile(entry: entry, descriptor: file), addressSpace: 0)
    #expect(unsafe mapping.baseAddress.load(fromByteOffset: 0xfff, as: UInt8.self) == 7)
    #expect(unsafe mapping.baseAddress.load(fromByteOffset: 0x1000, as: UInt8.self) == 0xff)
    unsafe mapping.baseAddress.storeBytes(of: 1, toByteOffset: 0x1800, as: UInt8.self)
  }
}
