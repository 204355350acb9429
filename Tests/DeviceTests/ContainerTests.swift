// SPDX-License-Identifier: Apache-2.0
import DMACore
import DriverCore
import EduDriver
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// What a container can do beyond mapping.
  @Suite struct ContainerTests {
    static let real: [VFIOMode] = [.type1v2, .type1]
    static let compat = [VFIOMode.compatType1v2, .compatType1].filter { LabFunction.modes.contains($0) }

    static func container(of device: borrowing VFIODevice) throws -> VFIOContainer {
      let space = device.addressSpace
      return try #require(space as? VFIOContainer)
    }

    @Test(arguments: real + compat)
    func extensionsAreAskedByName(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let container = try Self.container(of: device)
      #expect(try container.offers(.type1) && container.offers(.type1v2) && container.offers(.unmapAll))
      #expect(try container.offers(.updateAddress) == Self.real.contains(mode))
      #expect(try !container.offers(VFIOExtension(rawValue: 77)))
      _ = try container.offers(.coherentDMA)
      #expect(try container.offers(.noIOMMU) == Self.compat.contains(mode), "the imitation always says so")
    }

    @Test(arguments: real + compat)
    func itTellsAllThatTheKernelTells(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let info = try Self.container(of: device).info()
      #expect(info.pageSizes & 0x1000 != 0 && info.allowedRanges.count >= 2 && info.otherCapabilities.isEmpty)
      #expect(info.availableMappings != nil)
      if Self.real.contains(mode) {
        // One bit for each of 2^31 - 1 pages at most, in words.
        #expect(info.dirtyLog?.pageByteCount == 4096 && info.dirtyLog?.maximumBitmapByteCount == 1 << 28)
      } else {
        #expect(info.dirtyLog == nil)
      }
    }

    /// edu does not tell what it writes, so that everything pinned counts as dirty; what is not mapped does not.
    @Test func dirtyPagesAreThoseThatArePinned() throws {
      let device = try LabFunction.open(LabFunction.edu, .type1v2)
      let container = try Self.container(of: device)
      let start = IOVA(0x100_0000)
      let memory = try container.expose(UnsharedMemory(byteCount: 3 * 4096), access: .readWrite, at: start)
      let tracking = try container.trackDirtyPages()
      let late = try container.expose(
        UnsharedMemory(byteCount: 4096), access: .readWrite, at: IOVA(0x100_5000))
      let all = IOVARange(start: start, last: IOVA(0x100_ffff))
      let pinned = [
        IOVARange(start: start, last: IOVA(0x100_2fff)),
        IOVARange(start: IOVA(0x100_5000), last: IOVA(0x100_5fff)),
      ]
      let first = try tracking.takeDirtyPages(in: all)
      #expect(Array(first) == pinned && first.dirtyPageCount == 4 && first.pageByteCount == 4096)
      // Later the kernel may name pages behind the second mapping too; nothing that is pinned is ever left out.
      let second = try tracking.takeDirtyPages(in: all)
      #expect(pinned.allSatisfy { second.isDirty($0.start) && second.isDirty($0.last) }, "\(Array(second))")
      #expect(!second.isDirty(IOVA(0x100_3000)) && !second.isDirty(IOVA(0x100_4fff)))
      for mapping in pinned { #expect(try Array(tracking.takeDirtyPages(in: mapping)) == [mapping]) }
      let cut = #expect(throws: KernelError.self) {
        _ = try tracking.takeDirtyPages(in: IOVARange(start: IOVA(0x100_1000), last: IOVA(0x100_ffff)))
      }
      #expect(cut?.errno == .invalidArgument && cut?.remedy?.contains("whole mappings") == true)
      let huge = #expect(throws: KernelError.self) {
        _ = try tracking.takeDirtyPages(in: IOVARange(start: IOVA(0), last: IOVA((1 << 47) - 1)))
      }
      #expect(
        huge?.errno == .invalidArgument && huge?.remedy?.contains("268435456") == true, "\(huge as Any)")
      var dirty: DirtyBitmap?
      var back = try tracking.reclaim(memory, dirty: &dirty)
      #expect(dirty.map { Array($0) } == [pinned[0]])
      #expect(back.bytes.byteCount == 3 * 4096)
      let third = try tracking.takeDirtyPages(in: all)
      #expect(!third.isDirty(pinned[0].start) && third.isDirty(pinned[1].start), "\(Array(third))")
      try tracking.stop()
      _ = try late.reclaim()
    }

    @Test func aLogRunsOnceAndEndsWithItsValue() throws {
      let device = try LabFunction.open(LabFunction.edu, .type1v2)
      let container = try Self.container(of: device)
      for _ in 0..<2 {
        let tracking = try container.trackDirtyPages()
        let second = #expect(throws: KernelError.self) { _ = try container.trackDirtyPages() }
        #expect(second?.errno == .resourceBusy)
        #expect(tracking.pageByteCount == 4096)
      }
      // The kernel itself has stopped: it refuses the question of a log that is over.
      let memory = try container.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      let fd = try OpenFiles.descriptor(of: "/dev/vfio/vfio")
      var words: [UInt64] = [0]
      #expect(DirtyPagesCall.get(fd, memory.iova, into: &words) == -Errno.invalidArgument.rawValue)
    }

    /// The pages stay where they are in memory; only this process's address of them changes.
    @Test(arguments: real)
    func aMappingGetsAnotherAddress(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let container = try Self.container(of: device)
      let memory = try UnsharedMemory(byteCount: 8192, kind: .file)
      guard let file = try memory.duplicateFile() else {
        Issue.record("a memory file has a descriptor")
        return
      }
      let iova = IOVA(0x20_0000)
      let exposed = try container.expose(memory, access: .readWrite, at: iova)
      let range = IOVARange(start: iova, last: IOVA(0x20_1fff))
      let suspended = try container.suspendMapping(range)
      let twice = #expect(throws: KernelError.self) { _ = try container.suspendMapping(range) }
      #expect(twice?.errno == .invalidArgument)
      let second = try MappedMemory.sharing(file, offset: 0, byteCount: 8192)
      try unsafe suspended.resume(at: second.baseAddress)
      #expect(throws: KernelError.self) { try unsafe suspended.resume(at: second.baseAddress) }
      // The device reaches the same pages as before, and this process by both of its addresses.
      exposed.store(UInt64(0x1122_3344_5566_7788), at: 0)
      try device.setBusMaster(true)
      let engine = EduEngine(try device.mapBAR(.bar0))
      try engine.load(from: iova, byteCount: 64)
      try engine.store(to: IOVA(0x20_1000), byteCount: 64)
      try device.setBusMaster(false)
      let seen = unsafe second.baseAddress.load(fromByteOffset: 4096, as: UInt64.self)
      #expect(seen == 0x1122_3344_5566_7788)
      #expect(exposed.load(UInt64.self, at: 4096) == seen)
      _ = try exposed.reclaim()
      // What is suspended can be unmapped all the same.
      let other = try container.expose(
        UnsharedMemory(byteCount: 4096, kind: .file), access: .readWrite, at: iova)
      _ = try container.suspendMapping(IOVARange(start: iova, last: IOVA(0x20_0fff)))
      _ = try other.reclaim()
    }

    @Test func theFirstVersionHasNoLog() throws {
      let device = try LabFunction.open(LabFunction.edu, .type1)
      let container = try Self.container(of: device)
      let error = #expect(throws: KernelError.self) { _ = try container.trackDirtyPages() }
      #expect(error?.errno == .notSupported && error?.remedy?.contains("mode type1 ") == true)
    }

    @Test(arguments: compat)
    func whatTheImitationLacksNamesTheMode(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let container = try Self.container(of: device)
      let memory = try container.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      let range = IOVARange(start: memory.iova, last: memory.iova.advanced(byByteCount: 4095))
      let log = #expect(throws: KernelError.self) { _ = try container.trackDirtyPages() }
      let address = #expect(throws: KernelError.self) { _ = try container.suspendMapping(range) }
      for error in [log, address] {
        #expect(error?.errno == .notSupported && error?.remedy?.contains(mode.rawValue) == true)
      }
      _ = try memory.reclaim()
    }

    /// A group leaves when its device is closed, once, and no device of it can be opened then.
    private static func leaveAfterUse(_ group: VFIOGroup, of address: PCIAddress) throws {
      let device = try VFIODevice(address, in: group)
      let busy = #expect(throws: KernelError.self) { try group.leave() }
      #expect(busy?.errno == .resourceBusy && busy?.remedy?.contains("close") == true)
      try device.close()
      try group.leave()
      #expect(throws: KernelError.self) { try group.leave() }
      #expect(throws: KernelError.self) { _ = try VFIODevice(address, in: group) }
    }

    @Test func severalGroupsComeAndGo() throws {
      try LabFunction.lend(LabFunction.edu)
      try LabFunction.lend(LabFunction.secondEdu)
      let container = try VFIOContainer(mode: .type1v2)
      let other = try VFIOContainer(mode: .type1v2)
      let first = try #require(PCIBus().function(at: LabFunction.edu).iommuGroup)
      let second = try #require(PCIBus().function(at: LabFunction.secondEdu).iommuGroup)
      let group = try VFIOGroup(first, joining: container)
      var leaving: VFIOGroup? = try VFIOGroup(second, joining: container)
      try Self.leaveAfterUse(try #require(leaving), of: LabFunction.secondEdu)
      let memory = try container.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      leaving = nil
      // The first group holds the container; the second finds a place in another, where it alone is.
      let alone = try VFIODevice(LabFunction.secondEdu, in: VFIOGroup(second, joining: other))
      let shared = try memory.share(with: other, access: .read, at: IOVA(0x30_0000))
      let device = try VFIODevice(LabFunction.edu, in: group)
      #expect(try alone.configuration.vendorID == device.configuration.vendorID)
      try shared.unshare()
      _ = try memory.reclaim()
    }

    /// The kernel unmaps all when the last group goes; nothing must be parked for that.
    @Test(arguments: real + compat)
    func memoryOutlivesTheLastGroup(_ mode: VFIOMode) throws {
      try LabFunction.lend(LabFunction.edu)
      let number = try #require(PCIBus().function(at: LabFunction.edu).iommuGroup)
      let container = try VFIOContainer(mode: mode)
      let first = try VFIODevice(LabFunction.edu, in: VFIOGroup(number, joining: container))
      let memory = try container.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      let other = try container.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      try first.close()
      _ = try memory.reclaim()
      // The next group finds a container that works, and no trace of the memory that is left.
      let device = try VFIODevice(LabFunction.edu, in: VFIOGroup(number, joining: container))
      let fresh = try container.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      #expect(fresh.iova != other.iova)
      _ = try other.reclaim()
      _ = try fresh.reclaim()
      #expect(container.reservations.parkedByteCount == 0)
      try device.close()
    }
  }
}
