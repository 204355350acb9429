// SPDX-License-Identifier: Apache-2.0
import DMACore
import Glibc
import LinuxHandles
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// The ledger as expose, share and reclaim use it.
@Suite struct PageShareMemoryTests {
  @Test func exposeSharesAndReclaimUnshares() throws {
    let space = PageShareSpace("IOAS 1")
    let unshared = try UnsharedMemory(byteCount: 8192)
    let shares = unshared.shares
    let memory = try space.expose(unshared, access: .readWrite)
    #expect([0, 1].map { shares.count(ofPage: $0) } == [1, 1])
    let range = IOVARange(start: memory.iova, last: memory.iova(at: 8191))
    #expect(shares.listing.first?.holders == ["IOAS 1, \(range)"])
    let back = try memory.reclaim()
    #expect(back.byteCount == 8192 && shares.listing.isEmpty && space.mappings.isEmpty)
    _ = try back.relinquish()
    #expect(throws: PageShareError.self) { _ = try shares.share(0..<1, by: "late") }
  }

  @Test func twoSpacesShareOneMemory() throws {
    let (one, two) = (PageShareSpace("IOAS 1"), PageShareSpace("IOAS 2"))
    let memory = try one.expose(UnsharedMemory(byteCount: 16384), access: .readWrite)
    let share = try memory.share(with: two, bytes: 4096..<12288, access: .read, at: IOVA(0x10_0000))
    #expect(share.iova == IOVA(0x10_0000) && share.byteCount == 8192 && share.iova(at: 1) == IOVA(0x10_0001))
    #expect((0..<4).map { memory.shares.count(ofPage: $0) } == [1, 2, 2, 1])
    #expect(memory.shares.listing.map(\.pages) == [0..<1, 1..<3, 3..<4])
    try share.unshare()
    #expect(two.mappings.isEmpty && memory.shares.listing.map(\.pages) == [0..<4])
    _ = try memory.reclaim()
  }

  @Test func memoryThatAPeerHoldsIsNotReclaimed() throws {
    let (one, two) = (PageShareSpace("IOAS 1"), PageShareSpace("IOAS 2"))
    let memory = try one.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    let shares = memory.shares
    let share = try memory.share(with: two, access: .readWrite)
    let error = refusal(reclaiming: memory)
    #expect(error?.errno == .resourceBusy && error?.remedy?.contains("IOAS 2") == true)
    #expect(error?.remedy?.contains("IOAS 1") == false)
    #expect(one.mappings.isEmpty && two.mappings.count == 1 && shares.count(ofPage: 0) == 1)
    try share.unshare()
    #expect(shares.count(ofPage: 0) == 0 && two.mappings.isEmpty)
    #expect(throws: PageShareError.self) { _ = try shares.share(0..<1, by: "freed memory") }
  }

  @Test func aShareOutlivesTheMemoryThatItIsOf() throws {
    let (one, two) = (PageShareSpace("IOAS 1"), PageShareSpace("IOAS 2"))
    let memory = try one.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    let shares = memory.shares
    let share = try memory.share(with: two, access: .readWrite)
    _ = consume memory
    #expect(one.mappings.isEmpty && shares.count(ofPage: 0) == 1)
    _ = consume share
    #expect(two.mappings.isEmpty && shares.listing.isEmpty)
  }

  @Test(arguments: [0..<0, 0..<1, 1..<4097, 4096..<12288, -4096..<0])
  func partsThatAreNotWholePagesAreRefused(_ bytes: Range<Int>) throws {
    let space = PageShareSpace("IOAS 1")
    let memory = try space.expose(UnsharedMemory(byteCount: 8192), access: .readWrite)
    let error = #expect(throws: KernelError.self) {
      _ = try memory.share(with: space, bytes: bytes, access: .read)
    }
    #expect(error?.errno == .invalidArgument)
    #expect(memory.shares.count(ofPage: 0) == 1)
  }

  @Test func memoryThatCouldNotBeUnmappedStaysShared() throws {
    var space: PageShareSpace? = PageShareSpace("IOAS 1")
    let memory = try #require(space).expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    let shares = memory.shares
    space?.refusesUnmap.store(true, ordering: .relaxed)
    #expect(refusal(reclaiming: memory)?.operation == "unmap")
    #expect(shares.count(ofPage: 0) == 1 && space?.reservations.parkedByteCount == 4096)
    let error = #expect(throws: PageShareError.self) { try shares.donate(0..<1) }
    #expect(error?.holders.first?.hasPrefix("IOAS 1") == true)
    space = nil
    #expect(shares.count(ofPage: 0) == 0 && shares.listing.isEmpty)
  }

  /// A peer still reads memory whose own address space failed to unmap it and is gone.
  @Test func parkedMemoryStaysMappedForAPeer() throws {
    var one: PageShareSpace? = PageShareSpace("IOAS 1")
    let two = PageShareSpace("IOAS 2")
    var unshared = try UnsharedMemory(byteCount: 4096)
    let mark = UInt64.random(in: 1 ... .max)
    var bytes = unshared.bytes
    bytes.storeBytes(of: mark, toByteOffset: 0, as: UInt64.self)
    let address = unsafe bytes.withUnsafeMutableBytes { UInt(bitPattern: $0.baseAddress) }
    let memory = try #require(one).expose(unshared, access: .readWrite)
    let share = try memory.share(with: two, access: .read)
    one?.refusesUnmap.store(true, ordering: .relaxed)
    _ = consume memory
    one = nil
    #expect(word(at: address) == mark)
    try share.unshare()
    // Other tests may have mapped something else there since.
    #expect(word(at: address) != mark)
  }

  @Test func whatIsHeldPastTheTypesIsNeverUnmapped() throws {
    var unshared = try UnsharedMemory(byteCount: 4096)
    let shares = unshared.shares
    let mark = UInt64.random(in: 1 ... .max)
    var bytes = unshared.bytes
    bytes.storeBytes(of: mark, toByteOffset: 0, as: UInt64.self)
    let address = unsafe bytes.withUnsafeMutableBytes { UInt(bitPattern: $0.baseAddress) }
    let holder = try shares.share(0..<1, by: "VDUSE vdpa0")
    let error = refusal(relinquishing: unshared)
    #expect(error?.holders == ["VDUSE vdpa0"])
    #expect(word(at: address) == mark)
    try shares.unshare(holder)
  }

  private func refusal(reclaiming memory: consuming DMAMemory) -> KernelError? {
    do throws(KernelError) {
      _ = try memory.reclaim()
      return nil
    } catch {
      return error
    }
  }

  private func refusal(relinquishing memory: consuming UnsharedMemory) -> PageShareError? {
    do throws(PageShareError) {
      _ = try memory.relinquish()
      return nil
    } catch {
      return error
    }
  }

  /// What this process has at an address; nil where nothing is mapped.
  private func word(at address: UInt) -> UInt64? {
    guard let memory = try? OwnedDescriptor.open("/proc/self/mem", for: .read) else { return nil }
    var word: UInt64 = 0
    let count = unsafe pread(memory.rawValue, &word, 8, off_t(address))
    return count == 8 ? word : nil
  }

  #if DEBUG
    /// Each kernel call of the whole life fails in turn; ledger, addresses and mappings agree after each.
    @Test func failuresLeaveEverythingConsistent() throws {
      let failures = try faultSweep(concerning: { _ in false }) { plan in
        let (one, two) = (PageShareSpace("IOAS 1"), PageShareSpace("IOAS 2"))
        var shares: PageShares?
        try? FaultPlan.$current.withValue(plan) {
          let unshared = try UnsharedMemory(byteCount: 8192)
          shares = unshared.shares
          let memory = try one.expose(unshared, access: .readWrite, at: IOVA(0x20_0000))
          let share = try memory.share(with: two, bytes: 4096..<8192, access: .read, at: IOVA(0x30_0000))
          try share.unshare()
          _ = try memory.reclaim()
        }
        // What is mapped is what the ledger counts: each failed unmap is parked, and nothing else is left.
        #expect(shares?.listing.count ?? 0 == one.mappings.count + two.mappings.count)
        #expect(one.reservations.parkedByteCount == one.mappings.count * 8192)
        #expect(two.reservations.parkedByteCount == two.mappings.count * 8192)
        // An address is free exactly if nothing is mapped there.
        for (space, iova) in [(one, IOVA(0x20_0000)), (two, IOVA(0x30_0000))] {
          let isFree = (try? space.expose(UnsharedMemory(byteCount: 4096), access: .read, at: iova)) != nil
          #expect(isFree == space.mappings.isEmpty)
        }
      }
      #expect(failures == 6)  // mmap, madvise, map, map, unmap, unmap
    }
  #endif
}
