// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import Glibc
import LinuxHandles
import Synchronization
import SystemPackage
import Testing

@Suite struct DMAMemoryTests {
  private func expose(
    _ byteCount: Int = 4096, in space: TestSpace, at iova: IOVA? = nil, addressBits: Int = 64
  ) throws(KernelError) -> DMAMemory {
    try space.expose(
      UnsharedMemory(byteCount: byteCount), access: .readWrite, at: iova, addressBits: addressBits)
  }

  private func errno(_ body: () throws(KernelError) -> DMAMemory) -> Errno? {
    do throws(KernelError) {
      _ = try body()
      return nil
    } catch {
      return error.errno
    }
  }

  @Test func unsharedMemoryIsZeroedWholePages() throws {
    var memory = try UnsharedMemory(byteCount: 4097)
    #expect(memory.byteCount == 8192)
    let bytes = memory.bytes
    for place in stride(from: 0, to: 8192, by: 512) {
      let word = unsafe bytes.unsafeLoad(fromByteOffset: place, as: UInt64.self)
      #expect(word == 0)
    }
    let error = #expect(throws: KernelError.self) { _ = try UnsharedMemory(byteCount: 0) }
    #expect(error?.errno == .invalidArgument)
  }

  @Test func bytesStayTheSameThroughExposure() throws {
    let space = TestSpace()
    var memory = try UnsharedMemory(byteCount: 4096)
    var before = memory.bytes
    before.storeBytes(of: 0x0102_0304, toByteOffset: 8, as: UInt32.self)
    let shared = try space.expose(memory, access: .read)
    let (word, byte) = (shared.load(UInt32.self, at: 8), shared.load(UInt8.self, at: 11))
    #expect(word == 0x0102_0304 && byte == 1)
    shared.store(UInt64.max, at: 4088, ordering: .releasing)
    var again = try shared.reclaim()
    let after = again.bytes
    let last = unsafe after.unsafeLoad(fromByteOffset: 4088, as: UInt64.self)
    #expect(last == .max)
  }

  @Test func copiesGoWhereTheyShould() throws {
    let memory = try expose(in: TestSpace())
    let source: [UInt8] = [1, 2, 3, 4, 5]
    unsafe memory.copyIn(source.span.bytes, at: 4091)
    var target: [UInt8] = [0, 0, 0]
    var span = target.mutableSpan
    var bytes = unsafe span.mutableBytes
    memory.copyOut(at: 4093, into: &bytes)
    #expect(target == [3, 4, 5])
    let address = memory.iova(at: 4095)
    #expect(address == IOVA(memory.iova.rawValue + 4095))
  }

  @Test func addressZeroIsNotHandedOut() throws {
    let space = TestSpace()
    let memory = try expose(in: space)
    let huge = try expose(1 << 21, in: space)
    #expect(memory.iova == IOVA(4096))
    #expect(huge.iova == IOVA(1 << 21))  // aligned to a huge page of its own
  }

  @Test func refusals() throws {
    let space = TestSpace(allowed: [IOVARange(start: IOVA(0x10000), last: IOVA(0x1ffff))])
    let held = try expose(in: space, at: IOVA(0x18000))
    #expect(held.iova == IOVA(0x18000))
    #expect(errno { () throws(KernelError) in try expose(in: space, at: IOVA(0x18000)) } == .fileExists)
    #expect(errno { () throws(KernelError) in try expose(8192, in: space, at: IOVA(0x17000)) } == .fileExists)
    #expect(errno { () throws(KernelError) in try expose(in: space, at: IOVA(0x20000)) } == .invalidArgument)
    #expect(
      errno { () throws(KernelError) in try expose(8192, in: space, at: IOVA(0x1f000)) } == .invalidArgument)
    #expect(
      errno { () throws(KernelError) in try expose(8192, in: space, at: IOVA(.max - 4095)) }
        == .invalidArgument)
    #expect(errno { () throws(KernelError) in try expose(1 << 17, in: space) } == .noSpace)
    #expect(errno { () throws(KernelError) in try expose(in: space, addressBits: 16) } == .noSpace)
  }

  /// What a device cannot put on the bus, or an IOMMU cannot map, is refused at a fixed place too.
  @Test func aFixedPlaceKeepsTheLimits() throws {
    let space = TestSpace()
    let beyond = errno { () throws(KernelError) in try expose(in: space, at: IOVA(1 << 28), addressBits: 28) }
    #expect(beyond == .invalidArgument)
    let crooked = errno { () throws(KernelError) in try expose(in: space, at: IOVA(0x1800)) }
    #expect(crooked == .invalidArgument)
    let last = try expose(in: space, at: IOVA((1 << 28) - 4096), addressBits: 28)
    #expect(last.iova == IOVA((1 << 28) - 4096))
  }

  @Test func aRefusedMappingGivesTheRangeBack() throws {
    let space = TestSpace()
    space.failure.withLock { $0.map = .noMemory }
    #expect(errno { () throws(KernelError) in try expose(in: space, at: IOVA(0x5000)) } == .noMemory)
    space.failure.withLock { $0.map = nil }
    let memory = try expose(in: space, at: IOVA(0x5000))
    #expect(memory.iova == IOVA(0x5000))
    #expect(space.reservations.parkedByteCount == 0)
  }

  @Test func droppingUnmapsAndFreesTheRange() throws {
    let space = TestSpace()
    do {
      let memory = try expose(in: space, at: IOVA(0x5000))
      memory.syncForDevice()
      memory.syncForCPU()
    }
    let text = "0x5000...0x5fff"
    #expect(space.entries == ["map \(text)", "forDevice \(text)", "forCPU \(text)", "unmap \(text)"])
    let again = try expose(in: space, at: IOVA(0x5000)).reclaim()
    #expect(again.byteCount == 4096)
  }

  @Test func aSpaceLivesAsLongAsItsMemory() throws {
    weak var weakSpace: TestSpace?
    do {
      let memory: DMAMemory
      do {
        let space = TestSpace()
        weakSpace = space
        memory = try expose(in: space)
      }
      #expect(weakSpace != nil)
      memory.store(UInt8(1), at: 0)
    }
    #expect(weakSpace == nil)
  }

  /// Pages that could not be unmapped stay mapped here, and their range stays taken, until the space is gone.
  @Test(arguments: [true, false])
  func pagesOfAFailedUnmapAreParked(byDropping: Bool) async {
    await #expect(processExitsWith: .success) { [byDropping = byDropping as Bool] in
      // In a process of its own: no other thread may map memory at the freed place.
      var address: UInt = 0
      do {
        let space = TestSpace()
        let memory = try space.expose(UnsharedMemory(byteCount: 4096), access: .write, at: IOVA(0x5000))
        address = space.lastBase.withLock { $0 }
        space.failure.withLock { $0.unmap = .resourceBusy }
        if byDropping {
          _ = consume memory
        } else {
          do throws(KernelError) {
            _ = try memory.reclaim()
            exit(3)
          } catch {
            guard error.errno == .resourceBusy else { exit(4) }
          }
        }
        guard DMAMemoryTests.isMapped(address), space.reservations.parkedByteCount == 4096 else { exit(5) }
        space.failure.withLock { $0.unmap = nil }
        do throws(KernelError) {
          _ = try space.expose(UnsharedMemory(byteCount: 4096), access: .write, at: IOVA(0x5000))
          exit(6)
        } catch {
          guard error.errno == .fileExists else { exit(7) }
        }
      }
      guard !DMAMemoryTests.isMapped(address) else { exit(8) }
    }
  }

  @Test func aPlaceOutsideIsACallersError() async {
    await #expect(processExitsWith: .failure) {
      let memory = try TestSpace().expose(UnsharedMemory(byteCount: 4096), access: .write)
      _ = memory.load(UInt32.self, at: 4096)
    }
    await #expect(processExitsWith: .failure) {
      let memory = try TestSpace().expose(UnsharedMemory(byteCount: 4096), access: .write)
      _ = memory.load(UInt32.self, at: 2)
    }
    await #expect(processExitsWith: .success) {
      let memory = try TestSpace().expose(UnsharedMemory(byteCount: 4096), access: .write)
      _ = memory.load(UInt32.self, at: 4092)
    }
  }

  /// mincore answers ENOMEM for a page that is not mapped.
  static func isMapped(_ address: UInt) -> Bool {
    var residence: UInt8 = 0
    return unsafe mincore(UnsafeMutableRawPointer(bitPattern: address), 4096, &residence) == 0
  }

  @Test func limitsAreRead() throws {
    let limit = try MemoryLockLimit.current()
    #expect(NUMANode.count >= 1)
    // Nothing is as large as this; whoever has no limit needs no advice.
    let isLimited = !limit.isPrivileged && limit.limit != nil
    #expect((limit.remedy(forMapping: 1 << 60) != nil) == isLimited)
    #expect(limit.limit.map { $0 > 0 } ?? true)
  }
}
