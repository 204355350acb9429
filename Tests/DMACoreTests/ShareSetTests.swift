// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// Few mappings for many pieces, and a count of those that are left.
@Suite struct ShareSetTests {
  /// A space that takes so many mappings.
  private final class LimitedSpace: AddressSpace {
    let label = "limited"
    let granuleByteCount = 4096
    let reservations = IOVAReservations(allowed: [IOVARange(start: IOVA(0x1000), last: IOVA(0xffff_ffff))])
    let limit: Int
    let mapped = Mutex<[IOVARange]>([])
    init(limit: Int) { self.limit = limit }

    @unsafe
    func mapPages(
      _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
    ) throws(KernelError) {
      try kernelCall("map", on: "\(range)") {
        mapped.withLock { mapped in
          guard mapped.count < limit else { return -Errno.noSpace.rawValue }
          mapped.append(range)
          return 0
        }
      }
    }
    func unmapPages(_ range: IOVARange) throws(KernelError) {
      try kernelRelease("unmap", on: "\(range)") {
        mapped.withLock { mapped in
          mapped.removeAll { $0 == range }
          return 0
        }
      }
    }
    func mappingBudget() throws(KernelError) -> MappingBudget {
      let count = mapped.withLock { $0.count }
      return MappingBudget(available: limit - count, used: count)
    }
  }

  private func memory(pages: Int) throws -> DMAMemory {
    try TestSpace().expose(UnsharedMemory(pageCount: PageCount(pages)), access: .readWrite)
  }

  @Test func adjacentPartsAreOneMapping() throws {
    let peer = LimitedSpace(limit: 100)
    let memory = try memory(pages: 64)
    let parts = (0..<16).map { $0 * 4096..<($0 + 1) * 4096 }.shuffled() + [40 * 4096..<48 * 4096]
    let set = try memory.share(with: peer, parts: parts, access: .read)
    #expect(set.mappingCount == 2 && peer.mapped.withLock { $0.count } == 2)
    #expect(set.runs.map(\.bytes) == [0..<16 * 4096, 40 * 4096..<48 * 4096])
    let second = set.runs[1].range
    #expect(set.iova(at: 40 * 4096 + 5) == IOVA(second.start.rawValue + 5))
    #expect(set.iova(at: 16 * 4096) == nil && set.iova(at: 48 * 4096) == nil)
    #expect(set.iova(at: 16 * 4096 - 1) == set.runs[0].range.last)
    #expect(memory.shares.count(ofPage: 15) == 2 && memory.shares.count(ofPage: 16) == 1)
    try set.unshare()
    #expect(peer.mapped.withLock { $0.isEmpty } && memory.shares.count(ofPage: 15) == 1)
  }

  @Test func overlapsAndRepetitionsAreOneMappingToo() throws {
    let peer = LimitedSpace(limit: 1)
    let memory = try memory(pages: 8)
    let set = try memory.share(
      with: peer, parts: [0..<8192, 4096..<16384, 4096..<8192, 0..<8192], access: .read)
    #expect(set.runs.map(\.bytes) == [0..<16384])
  }

  @Test func partsBeyondTheBudgetAreRefusedBeforeTheFirst() throws {
    let peer = LimitedSpace(limit: 5)
    let memory = try memory(pages: 16)
    let held = try memory.share(with: peer, parts: [0..<4096, 8192..<12288], access: .read)
    let error = #expect(throws: KernelError.self) {
      _ = try memory.share(with: peer, parts: (0..<4).map { $0 * 8192..<$0 * 8192 + 4096 }, access: .read)
    }
    #expect(error?.errno == .noSpace)
    #expect(error?.remedy?.contains("needed 4, used 2, limit 5") == true, "\(error?.description ?? "")")
    #expect(error?.remedy?.contains("dma_entry_limit") == true)
    #expect(peer.mapped.withLock { $0.count } == 2 && peer.exposures.count == 2)
    #expect(throws: KernelError.self) { try peer.checkMappingBudget(for: 4) }
    try peer.checkMappingBudget(for: 3)
    _ = consume held
    try peer.checkMappingBudget(for: 5)
  }

  @Test(arguments: [[], [0..<4096, 8192..<8192], [0..<100], [4096..<Int.max / 4096 * 4096], [-4096..<0]])
  func badPartsAreRefused(_ parts: [Range<Int>]) throws {
    let peer = LimitedSpace(limit: 5)
    let memory = try memory(pages: 4)
    let error = #expect(throws: KernelError.self) {
      _ = try memory.share(with: peer, parts: parts, access: .read)
    }
    #expect(error?.errno == .invalidArgument && peer.exposures.isEmpty)
  }

  @Test func aPoolIsOneMappingHoweverManySlices() throws {
    let space = LimitedSpace(limit: 1)
    let pool = try DMAPool(
      space.expose(UnsharedMemory(byteCount: 1 << 20), access: .readWrite), sliceByteCount: 4096)
    #expect(pool.sliceCount == 256 && space.exposures.count == 1 && space.mapped.withLock { $0.count } == 1)
  }

  @Test func aSpaceWithoutLimitTakesAny() throws {
    let space = TestSpace()
    try space.checkMappingBudget(for: 1 << 40)
    let memory = try space.expose(UnsharedMemory(byteCount: 4096), access: .read)
    #expect(try space.mappingBudget() == MappingBudget(available: nil, used: 1))
    _ = consume memory
  }

  #if DEBUG
    /// Whichever call fails, no part stays shared.
    @Test func aFailureInTheMiddleLeavesNoPart() throws {
      let failures = try faultSweep(concerning: { _ in false }) { plan in
        let peer = LimitedSpace(limit: 100)
        let memory = try memory(pages: 16)
        try? FaultPlan.$current.withValue(plan) {
          let parts = (0..<4).map { $0 * 8192..<$0 * 8192 + 4096 }
          try memory.share(with: peer, parts: parts, access: .read).unshare()
        }
        // A failed release reports after the fact: its pages are parked, though unmapped.
        let parked = peer.exposures.filter(\.isParked).count
        #expect(peer.mapped.withLock { $0.isEmpty } && peer.exposures.count == parked && parked <= 1)
        #expect(memory.shares.listing.count { $0.holders.count > 1 } == parked)
      }
      #expect(failures == 8)
    }
  #endif
}
