// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import SoftwareIOTLB
import SystemPackage
import Testing

/// The domain as an address space: exposures, the ledger, coherent memory.
@Suite struct IOTLBSpaceTests {
  private func bytes(of memory: inout UnsharedMemory, at places: [Int]) -> [UInt8] {
    let span = memory.bytes
    var bytes: [UInt8] = []
    for place in places { bytes.append(unsafe span.unsafeLoad(fromByteOffset: place, as: UInt8.self)) }
    return bytes
  }

  @Test func streamingMemoryIsCopiedAtTheSyncs() throws {
    let domain = try IOTLBDomain(.small)
    let view = try IOTLBView(of: domain)
    let memory = try domain.expose(UnsharedMemory(byteCount: 8192), access: .readWrite)
    #expect(memory.iova.rawValue >= 64 << 10)
    memory.store(UInt32(0x1234_5678), at: 4096)
    let place = memory.iova(at: 4096)
    #expect(try view.bytes(at: place, 4) == [0, 0, 0, 0])
    memory.syncForDevice()
    #expect(try view.bytes(at: place, 4) == [0x78, 0x56, 0x34, 0x12])
    try view.write([1, 0, 0, 0], at: place)
    #expect(memory.load(UInt32.self, at: 4096) == 0x1234_5678)
    memory.syncForCPU()
    #expect(memory.load(UInt32.self, at: 4096) == 1)
    let iova = memory.iova
    _ = try memory.reclaim()
    #expect(refusal { () throws(IOTLBError) in _ = try view.bytes(at: iova, 1) } == .notMapped)
    #expect(try RawDeviceSide(of: domain).pages(with: 1) == [])
  }

  @Test func coherentMemoryIsOneMemory() throws {
    let domain = try IOTLBDomain(.small)
    let view = try IOTLBView(of: domain)
    var unshared = try UnsharedMemory(byteCount: 8192)
    var bytes = unshared.bytes
    bytes.storeBytes(of: 0x55, toByteOffset: 5000, as: UInt8.self)
    let memory = try domain.expose(unshared, access: .readWrite, sharing: .coherent)
    #expect(try view.bytes(at: memory.iova(at: 5000), 1) == [0x55])
    memory.store(UInt8(0x66), at: 0)
    #expect(try view.bytes(at: memory.iova, 1) == [0x66])
    try view.write([0x77], at: memory.iova(at: 8191))
    #expect(memory.load(UInt8.self, at: 8191) == 0x77)
    // The bytes stay with the memory, and nothing of them with the device.
    var mine = try memory.reclaim()
    let seen = self.bytes(of: &mine, at: [0, 5000, 8191])
    #expect(seen == [0x66, 0x55, 0x77])
    let raw = try RawDeviceSide(of: domain)
    #expect(raw.pages(with: 0x55) == [] && raw.pages(with: 0x66) == [] && raw.pages(with: 0x77) == [])
    // And it is no more the device's memory.
    raw.fill(IOVA(64 << 10), 8192, with: 9)
    let after = self.bytes(of: &mine, at: [0])
    #expect(after == [0x66])
  }

  @Test func coherentMemoryIsAllocatedAndFreed() throws {
    let domain = try IOTLBDomain(.small)
    let view = try IOTLBView(of: domain)
    for _ in 0..<3 {
      let ring = try domain.allocCoherent(byteCount: 100)
      #expect(ring.byteCount == 4096 && ring.load(UInt64.self, at: 0) == 0)
      ring.store(UInt64.max, at: 0)
      #expect(try view.bytes(at: ring.iova, 8) == [UInt8](repeating: 255, count: 8))
      try domain.freeCoherent(ring)
    }
    // 48 pages: no more, and all of them again.
    let all = try domain.allocCoherent(byteCount: 192 << 10)
    let error = #expect(throws: KernelError.self) {
      try domain.freeCoherent(domain.allocCoherent(byteCount: 1))
    }
    #expect(error?.errno == .noSpace)
    try domain.freeCoherent(all)
    try domain.freeCoherent(domain.allocCoherent(byteCount: 192 << 10))
  }

  @Test func theDirectionIsTheAccess() throws {
    let domain = try IOTLBDomain(.small)
    let view = try IOTLBView(of: domain)
    let read = try domain.expose(UnsharedMemory(byteCount: 4096), access: .read)
    let write = try domain.expose(UnsharedMemory(byteCount: 4096), access: .write)
    write.store(UInt8(3), at: 0)
    write.syncForDevice()
    #expect(try RawDeviceSide(of: domain).pages(with: 3) == [])
    #expect(refusal { () throws(IOTLBError) in try view.write([1], at: read.iova) } == .wrongDirection)
    #expect(refusal { () throws(IOTLBError) in _ = try view.bytes(at: write.iova, 1) } == .wrongDirection)
    try RawDeviceSide(of: domain).fill(read.iova, 4096, with: 9)
    read.syncForCPU()
    #expect(read.load(UInt8.self, at: 0) == 0)
  }

  @Test func theLedgerKnows() throws {
    let domain = try IOTLBDomain(.small, label: "bounce")
    let memory = try domain.expose(UnsharedMemory(byteCount: 4096), access: .read, at: IOVA(0x2_0000))
    #expect(domain.listing.map(\.holders) == [["bounce, 0x20000...0x20fff"]])
    #expect(memory.shares.count(ofPage: 0) == 1)
    #expect(try domain.endAllExposures() == 4096)
    #expect(domain.listing.isEmpty && memory.shares.count(ofPage: 0) == 0)
    _ = try memory.reclaim()
  }

  @Test func coherentMemoryHasOneAddress() throws {
    let (domain, other) = (try IOTLBDomain(.small), try IOTLBDomain(.small))
    let memory = try domain.allocCoherent(byteCount: 4096)
    do throws(KernelError) {
      _ = try memory.share(with: other, access: .read, sharing: .coherent)
      Issue.record("coherent memory of two domains")
    } catch {
      #expect(error.errno == .resourceBusy)
    }
    // As streaming memory it may be in both, but not stay when the coherent one goes.
    let share = try memory.share(with: other, access: .read)
    memory.store(UInt8(4), at: 0)
    share.syncForDevice()
    #expect(try IOTLBView(of: other).bytes(at: share.iova, 1) == [4])
    try share.unshare()
    try domain.freeCoherent(memory)
    #expect(domain.reservations.parkedByteCount == 0)
  }

  @Test func refusesWhatIsNotItsOwn() throws {
    let domain = try IOTLBDomain(.small)
    let memory = try MappedMemory.anonymous(byteCount: 8192)
    func errno(_ start: UInt64, _ last: UInt64) -> Errno? {
      do throws(KernelError) {
        try unsafe domain.mapPages(
          memory.baseAddress, to: IOVARange(start: IOVA(start), last: IOVA(last)), access: .readWrite,
          sharing: .streaming)
        return nil
      } catch {
        return error.errno
      }
    }
    #expect(errno(0x2_0000, 0x2_1fff) == nil)
    #expect(errno(0x2_0000, 0x2_0fff) == .fileExists && errno(0x1_f000, 0x2_0fff) == .fileExists)
    #expect(errno(0x1000, 0x1fff) == .invalidArgument && errno(0x4_0000, 0x4_0fff) == .invalidArgument)
    #expect(errno(0x3_0000, 0x3_07ff) == .invalidArgument && errno(0x3_0800, 0x3_17ff) == .invalidArgument)
    for last: UInt64 in [0x2_0fff, 0x2_2fff] {
      let range = IOVARange(start: IOVA(0x2_0000), last: IOVA(last))
      let error = #expect(throws: KernelError.self) { try domain.unmapPages(range) }
      #expect(error?.errno == .noSuchFileOrDirectory)
    }
    try domain.unmapPages(IOVARange(start: IOVA(0x2_0000), last: IOVA(0x2_1fff)))
  }

  @Test(arguments: [
    IOTLBLayout(bounceByteCount: 4096, limit: IOVA(0xffff)),
    IOTLBLayout(bounceByteCount: -8192, limit: IOVA(0xffff)),
    IOTLBLayout(bounceByteCount: 8193, limit: IOVA(0xffff)),
    IOTLBLayout(bounceByteCount: 8192, limit: IOVA(0xfffe)),
    IOTLBLayout(bounceByteCount: 0x1_0000, limit: IOVA(0xffff)),
    IOTLBLayout(bounceByteCount: 8192, limit: IOVA(.max)),
    IOTLBLayout(bounceByteCount: 8192, limit: IOVA(1 << 44 + 4095)),
  ])
  func layoutsThatAreNone(layout: IOTLBLayout) throws {
    do throws(KernelError) {
      _ = try IOTLBDomain(layout)
      Issue.record("a domain of \(layout)")
    } catch {
      #expect(error.errno == .invalidArgument)
    }
  }
}
