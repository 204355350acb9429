// SPDX-License-Identifier: Apache-2.0
import DMACore
import Glibc
import LinuxHandles
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// What an address space knows of its exposures.
@Suite struct ExposureTests {
  private func expose(
    _ byteCount: Int, in space: any AddressSpace, at iova: UInt64, _ access: DMAAccess = .readWrite
  ) throws -> DMAMemory {
    try space.expose(
      UnsharedMemory(byteCount: byteCount), access: access, sharing: .coherent, at: IOVA(iova))
  }

  @Test func anAddressLeadsToItsExposure() throws {
    let space = PageShareSpace("one")
    let peer = PageShareSpace("two")
    let memory = try expose(16384, in: space, at: 0x10_0000, .read)
    let share = try memory.share(with: peer, bytes: 4096..<12288, access: .write, at: IOVA(0x20_0000))
    let found = try #require(space.exposure(at: IOVA(0x10_2004)))
    #expect(found.range == IOVARange(start: IOVA(0x10_0000), last: IOVA(0x10_3fff)))
    #expect(found.bytes == 0..<16384 && found.access == .read && found.sharing == .coherent)
    #expect(found.byteOffset(of: IOVA(0x10_2004)) == 0x2004 && !found.isParked)
    #expect(found.shares === memory.shares)
    let part = try #require(peer.exposure(at: IOVA(0x20_0010)))
    #expect(part.bytes == 4096..<12288 && part.byteOffset(of: IOVA(0x20_0010)) == 4112)
    #expect(part.access == .write && part.sharing == .streaming && part.shares === found.shares)
    for iova: UInt64 in [0, 0xf_ffff, 0x10_4000, .max] { #expect(space.exposure(at: IOVA(iova)) == nil) }
    try share.unshare()
    _ = try memory.reclaim()
    #expect(space.exposure(at: IOVA(0x10_0000)) == nil && peer.exposures.isEmpty)
  }

  /// The index of a space's exposures is made with the first look-up: of what there is then, and kept from then on.
  @Test func theIndexIsMadeWithTheFirstLookUp() throws {
    let space = PageShareSpace("late")
    let gone = try expose(4096, in: space, at: 0x10_0000)
    let early = try expose(8192, in: space, at: 0x20_0000)
    _ = try gone.reclaim()
    #expect(space.exposure(at: IOVA(0x20_1000))?.range.start == IOVA(0x20_0000))
    #expect(space.exposure(at: IOVA(0x10_0000)) == nil)
    let late = try expose(4096, in: space, at: 0x10_0000)
    #expect(space.exposure(at: IOVA(0x10_0fff))?.bytes == 0..<4096)
    _ = try early.reclaim()
    #expect(space.exposure(at: IOVA(0x20_1000)) == nil)
    _ = try late.reclaim()
    #expect(space.exposure(at: IOVA(0x10_0000)) == nil && space.exposures.isEmpty)
  }

  /// What was ended with all others is in no index, whenever that is made.
  @Test(arguments: [true, false])
  func whatHasEndedIsNotFound(_ isLookedUpBefore: Bool) throws {
    let space = PageShareSpace("ended")
    let memory = try expose(4096, in: space, at: 0x10_0000)
    if isLookedUpBefore { #expect(space.exposure(at: IOVA(0x10_0000)) != nil) }
    try space.endAllExposures()
    #expect(space.exposure(at: IOVA(0x10_0000)) == nil)
    _ = try memory.reclaim()
    let again = try expose(4096, in: space, at: 0x10_0000)
    #expect(space.exposure(at: IOVA(0x10_0000)) != nil)
    _ = try again.reclaim()
  }

  @Test func theListingSaysWhoHoldsWhat() throws {
    let (one, two) = (PageShareSpace("one"), PageShareSpace("two"))
    let high = try expose(4096, in: one, at: 0x30_0000, .read)
    let low = try expose(16384, in: one, at: 0x10_0000)
    let share = try low.share(with: two, bytes: 4096..<12288, access: .read, at: IOVA(0x20_0000))
    let lines = one.listing
    #expect(lines.map(\.pages) == [0..<1, 1..<3, 3..<4, 0..<1])
    #expect(lines.map(\.range.start.rawValue) == [0x10_0000, 0x10_1000, 0x10_3000, 0x30_0000])
    #expect(lines.map(\.range.last.rawValue) == [0x10_0fff, 0x10_2fff, 0x10_3fff, 0x30_0fff])
    #expect(lines.map(\.access) == [.readWrite, .readWrite, .readWrite, .read])
    #expect(lines[1].holders == ["one, 0x100000...0x103fff", "two, 0x200000...0x201fff"])
    #expect(
      lines[1].description
        == "0x101000...0x102fff: pages 1..<3, read, write, coherent: one, 0x100000...0x103fff; "
        + "two, 0x200000...0x201fff")
    #expect(two.listing.map(\.pages) == [1..<3] && two.listing.map(\.range.start.rawValue) == [0x20_0000])
    try share.unshare()
    #expect(one.listing.map(\.pages) == [0..<4, 0..<1])
    _ = try low.reclaim()
    _ = try high.reclaim()
    #expect(one.listing.isEmpty)
  }

  @Test func whatCouldNotBeUnmappedIsListedAsParked() throws {
    let space = PageShareSpace("one")
    let memory = try expose(4096, in: space, at: 0x10_0000)
    space.refusesUnmap.store(true, ordering: .relaxed)
    _ = consume memory
    let line = try #require(space.listing.first)
    #expect(line.isParked && line.description.contains(", parked: one, 0x100000...0x100fff"))
    #expect(space.exposure(at: IOVA(0x10_0000))?.isParked == true)
    // Parked memory is not what a later end of all can take back.
    space.refusesUnmap.store(false, ordering: .relaxed)
    #expect(try space.endAllExposures() == 0 && space.listing.count == 1)
  }

  @Test func anExposureThatFailsIsNotListed() throws {
    let space = TestSpace()
    space.failure.withLock { $0.map = .noMemory }
    #expect(throws: KernelError.self) { _ = try expose(4096, in: space, at: 0x10_0000) }
    #expect(space.listing.isEmpty && space.exposure(at: IOVA(0x10_0000)) == nil)
    space.failure.withLock { $0.map = nil }
    let memory = try expose(4096, in: space, at: 0x10_0000)
    #expect(space.exposures.count == 1)
    _ = consume memory
  }

  @Test func anEndOfAllIsFollowedByTheLedger() throws {
    let (space, peer) = (PageShareSpace("one"), PageShareSpace("two"))
    var first = try UnsharedMemory(byteCount: 8192)
    var bytes = first.bytes
    bytes.storeBytes(of: 0x77, toByteOffset: 8191, as: UInt8.self)
    let memory = try space.expose(first, access: .readWrite, at: IOVA(0x10_0000))
    let other = try expose(4096, in: space, at: 0x20_0000)
    let share = try other.share(with: peer, access: .read)
    let shares = (memory.shares, other.shares)
    #expect(try space.endAllExposures() == 12288)
    #expect(space.mappings.isEmpty && space.listing.isEmpty && space.exposures.isEmpty)
    #expect(shares.0.listing.isEmpty && shares.1.listing.first?.holders.count == 1, "the peer's is its own")
    #expect(try space.endAllExposures() == 0)
    // The owners' addresses are theirs until they let go.
    #expect(throws: KernelError.self) { _ = try expose(4096, in: space, at: 0x10_0000) }
    memory.syncForDevice()
    var back = try memory.reclaim()
    let last = unsafe back.bytes.unsafeLoad(fromByteOffset: 8191, as: UInt8.self)
    #expect(last == 0x77)
    let again = try expose(4096, in: space, at: 0x10_0000)
    #expect(space.mappings.count == 1)
    // Memory that a peer holds is still not given back.
    let refusal = Self.refusal(reclaiming: other)
    #expect(refusal?.errno == .resourceBusy && refusal?.remedy?.contains("two") == true)
    try share.unshare()
    #expect(shares.1.listing.isEmpty)
    _ = consume again
  }

  @Test func anEndOfAllThatFailsLeavesTheRestExposed() throws {
    let space = PageShareSpace("one")
    let memory = try expose(4096, in: space, at: 0x10_0000)
    space.refusesUnmap.store(true, ordering: .relaxed)
    let error = #expect(throws: KernelError.self) { try space.endAllExposures() }
    #expect(error?.operation == "unmap" && space.listing.count == 1)
    space.refusesUnmap.store(false, ordering: .relaxed)
    _ = try memory.reclaim()
    #expect(space.mappings.isEmpty && space.listing.isEmpty && space.reservations.parkedByteCount == 0)
  }

  /// Threads that expose and reclaim while another ends everything: nothing is ended twice, lost or parked.
  @Test(.timeLimit(.minutes(15)))
  func anEndOfAllWaitsForTheOthers() throws {
    let space = PageShareSpace("one")
    let shared = SharedFlag()
    let threads = (0..<3).map { index in
      IOVAThread {
        defer { shared.runningCount.subtract(1, ordering: .releasing) }
        var round = 0
        while round < 300 || !shared.isEnough.load(ordering: .relaxed) {
          round += 1
          do {
            let memory = try space.expose(
              UnsharedMemory(byteCount: 4096 * (index + 1)), access: .readWrite)
            memory.store(UInt8(1), at: 0)
            if index > 0 { _ = try memory.reclaim() }
          } catch {
            shared.failureCount.add(1, ordering: .relaxed)
          }
        }
      }
    }
    var endedByteCount: UInt64 = 0
    let latest = ContinuousClock.now + .seconds(60)
    while shared.runningCount.load(ordering: .acquiring) > 0 {
      endedByteCount += try space.endAllExposures()
      // It may be long before an exposure is met, where there is one processor.
      if endedByteCount > 0 || ContinuousClock.now >= latest {
        shared.isEnough.store(true, ordering: .relaxed)
      }
      usleep(200)
    }
    for thread in threads { thread.join() }
    #expect(shared.failureCount.load(ordering: .relaxed) == 0 && endedByteCount > 0)
    #expect(space.mappings.isEmpty && space.listing.isEmpty && space.reservations.parkedByteCount == 0)
    try space.reservations.open([IOVARange(start: IOVA(0x1000), last: IOVA(0xffff))])
  }

  @Test func anAddressSpaceIsNotOpenedAnewUnderItsMemory() throws {
    let space = TestSpace()
    let everything = [IOVARange(start: IOVA(0), last: IOVA((1 << 20) - 1))]
    let memory = try expose(4096, in: space, at: 0x10_0000)
    let error = #expect(throws: KernelError.self) { try space.reservations.open(everything) }
    #expect(error?.errno == .resourceBusy && error?.remedy?.contains("1 ranges") == true)
    #expect(space.reservations.allowed != everything)
    _ = try memory.reclaim()
    try space.reservations.open(everything)
    #expect(space.reservations.allowed == everything)
  }

  private final class SharedFlag: Sendable {
    let failureCount = Atomic<Int>(0)
    let runningCount = Atomic<Int>(3)
    let isEnough = Atomic<Bool>(false)
  }

  private static func refusal(reclaiming memory: consuming DMAMemory) -> KernelError? {
    do throws(KernelError) {
      _ = try memory.reclaim()
      return nil
    } catch {
      return error
    }
  }
}
