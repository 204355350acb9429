// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore
import Foundation
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// The ledger of real address spaces: what it says is what the kernel has.
  @Suite struct DMALedgerTests {
    private func availableMappings(_ space: any AddressSpace) throws -> Int? {
      try (space as? VFIOContainer)?.info().availableMappings
    }

    @Test(arguments: LabFunction.modes)
    func exposuresAreFoundAndListed(_ mode: VFIOMode) throws {
      let one = try LabFunction.open(LabFunction.edu, mode)
      let two = try LabFunction.open(LabFunction.secondEdu, mode)
      let (space, peer) = (one.addressSpace, two.addressSpace)
      let memory = try space.expose(UnsharedMemory(byteCount: 16384), access: .readWrite, at: IOVA(0x10_0000))
      let share = try memory.share(with: peer, bytes: 4096..<8192, access: .read, at: IOVA(0x20_0000))
      #expect(space.exposure(at: IOVA(0x10_1008))?.byteOffset(of: IOVA(0x10_1008)) == 0x1008)
      #expect(peer.exposure(at: IOVA(0x20_0000))?.bytes == 4096..<8192)
      #expect(peer.exposure(at: IOVA(0x20_1000)) == nil)
      let lines = space.listing
      #expect(lines.map(\.pages) == [0..<1, 1..<2, 2..<4])
      #expect(lines[1].holders.count == 2 && Set(lines[1].holders.map { $0.prefix(4) }).count == 1)
      #expect(lines[1].holders[0] != lines[1].holders[1], "spaces of one kind are told apart")
      try share.unshare()
      _ = try memory.reclaim()
      #expect(space.listing.isEmpty && peer.listing.isEmpty)
    }

    /// The kernel's own unmap-all, with the ledger behind it; and it is the last page of all that is mapped too.
    @Test(arguments: LabFunction.modes)
    func allAreEndedAtOnce(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      let before = (try MemoryLockLimit.current(), try availableMappings(space))
      #expect(try space.endAllExposures() == 0, "nothing is mapped yet")
      let top = try #require(space.reservations.allowed.last).last
      let memory = try space.expose(UnsharedMemory(byteCount: 1 << 21), access: .readWrite)
      let last = try space.expose(
        UnsharedMemory(byteCount: 4096), access: .readWrite, at: IOVA(top.rawValue - 4095))
      let ledgers = (memory.shares, last.shares)
      #expect(ledgers.0.listing.count == 1 && ledgers.1.listing.count == 1)
      #expect(try space.endAllExposures() == 1 << 21 + 4096)
      #expect(ledgers.0.listing.isEmpty && ledgers.1.listing.isEmpty && space.listing.isEmpty)
      let after = (try MemoryLockLimit.current(), try availableMappings(space))
      #expect(after.0 == before.0 && after.1 == before.1, "\(before), \(after)")
      // The kernel agrees: at that place is nothing to unmap any more.
      #expect(throws: KernelError.self) {
        try space.unmapPages(IOVARange(start: IOVA(top.rawValue - 4095), last: top))
      }
      let taken = #expect(throws: KernelError.self) {
        _ = try space.expose(UnsharedMemory(byteCount: 4096), access: .read, at: IOVA(top.rawValue - 4095))
      }
      #expect(taken?.errno == .fileExists, "the place is its owner's")
      _ = try last.reclaim()
      _ = try memory.reclaim()
      _ = try space.expose(
        UnsharedMemory(byteCount: 4096), access: .read, at: IOVA(top.rawValue - 4095)
      ).reclaim()
      #expect(space.reservations.parkedByteCount == 0)
    }

    /// A device that was cut off writes nothing, whoever holds the memory.
    @Test(arguments: LabFunction.modes)
    func aDeviceIsCutOff(_ mode: VFIOMode) throws {
      let edu = try EduStand(mode)
      let memory = try edu.device.addressSpace.exposeToEdu(UnsharedMemory(byteCount: 4096))
      memory.store(UInt64(0x1111), at: 0)
      try edu.engine.load(from: memory.iova, byteCount: 64)
      memory.store(UInt64(0x2222), at: 0)
      try edu.device.addressSpace.endAllExposures()
      try edu.engine.store(to: memory.iova, byteCount: 64)
      let seen = memory.load(UInt64.self, at: 0)
      #expect(seen == 0x2222)
      _ = try memory.reclaim()
    }

    @Test(arguments: [VFIOMode.type1, .type1v2])
    func adjacentPiecesAreOneEntryOfTheKernel(_ mode: VFIOMode) throws {
      let one = try LabFunction.open(LabFunction.edu, mode)
      let two = try LabFunction.open(LabFunction.secondEdu, mode)
      let peer = two.addressSpace
      let memory = try one.addressSpace.expose(UnsharedMemory(byteCount: 64 * 4096), access: .readWrite)
      let available = try #require(try availableMappings(peer))
      let pieces = (0..<32).map { $0 * 4096..<($0 + 1) * 4096 }
      let set = try memory.share(with: peer, parts: pieces + [40 * 4096..<41 * 4096], access: .read)
      #expect(try availableMappings(peer) == available - 2)
      #expect(try peer.mappingBudget() == MappingBudget(available: available - 2, used: 2))
      try set.unshare()
      #expect(try availableMappings(peer) == available)
      let pool = try DMAPool(
        peer.expose(UnsharedMemory(byteCount: 1 << 20), access: .readWrite), sliceByteCount: 64)
      #expect(try pool.sliceCount == 16384 && availableMappings(peer) == available - 1)
    }

    /// The limit of entries is taken when the container opens.
    @Test(arguments: [VFIOMode.type1, .type1v2])
    func theEntryBudgetIsKept(_ mode: VFIOMode) throws {
      let parameter = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"
      let usual = try String(contentsOfFile: parameter, encoding: .utf8)
      try "8".write(toFile: parameter, atomically: false, encoding: .utf8)
      defer { try? usual.write(toFile: parameter, atomically: false, encoding: .utf8) }
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      #expect(try space.mappingBudget().available == 8)
      let memory = try space.expose(UnsharedMemory(byteCount: 64 * 4096), access: .readWrite)
      let parts = (0..<8).map { $0 * 8192..<$0 * 8192 + 4096 }
      let early = #expect(throws: KernelError.self) {
        _ = try memory.share(with: space, parts: parts, access: .read)
      }
      #expect(early?.errno == .noSpace && early?.operation == "count mappings")
      #expect(early?.remedy?.contains("needed 8, used 1, limit 8") == true, "\(early?.description ?? "")")
      #expect(try availableMappings(space) == 7, "none was mapped")
      let set = try memory.share(with: space, parts: parts.dropLast(), access: .read)
      #expect(try set.mappingCount == 7 && availableMappings(space) == 0)
      let late = #expect(throws: KernelError.self) {
        _ = try space.expose(UnsharedMemory(byteCount: 4096), access: .read)
      }
      #expect(late?.errno == .noSpace && late?.operation == "VFIO_IOMMU_MAP_DMA")
      #expect(late?.remedy?.contains("needed 1, used 8, limit 8") == true, "\(late?.description ?? "")")
      try set.unshare()
      #expect(try availableMappings(space) == 7)
    }

    #if DEBUG
      /// Each kernel call of an exposure's life fails in turn: ledger, kernel and lock accounts agree after each.
      @Test(arguments: LabFunction.modes)
      func everyCallMayFail(_ mode: VFIOMode) throws {
        try LabFunction.lend(LabFunction.edu)
        let before = try MemoryLockLimit.current()
        let swept = try faultSweep(.ioError, concerning: concernsVFIO) { plan in
          let device = try VFIODevice.open(LabFunction.edu, mode: mode)
          let space = device.addressSpace
          do {
            try FaultPlan.$current.withValue(plan) { try Self.wholeLife(in: space) }
          } catch let error as KernelError {
            #expect(error.errno == .ioError && plan.wasReached, "\(error)")
          }
          // What could not be unmapped is parked, and said to be; nothing else is left.
          let listing = space.listing
          #expect(listing.allSatisfy { $0.isParked }, "\(listing)")
          #expect((space.reservations.parkedByteCount > 0) == !listing.isEmpty)
          try device.close()
        }
        let after = try MemoryLockLimit.current()
        #expect(after == before, "\(before), \(after)")
        #expect(swept >= 10, "\(swept) calls")
      }

      private static func wholeLife(in space: any AddressSpace) throws(KernelError) {
        let memory = try space.expose(UnsharedMemory(byteCount: 16384, kind: .file), access: .readWrite)
        let share = try memory.share(with: space, parts: [0..<4096, 8192..<12288], access: .read)
        try share.unshare()
        let other = try space.expose(UnsharedMemory(byteCount: 4096), access: .write)
        _ = try other.reclaim()
        try space.endAllExposures()
        _ = try memory.reclaim()
      }
    #endif
  }
}
