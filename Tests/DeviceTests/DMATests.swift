// SPDX-License-Identifier: Apache-2.0
import DMACore
import EduDriver
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  @Suite struct DMATests {
    @Test(arguments: LabFunction.modes)
    func addressesComeFromTheAllowedRanges(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      let allowed = space.reservations.allowed
      let interruptWindow = IOVARange(start: IOVA(0xfee0_0000), last: IOVA(0xfeef_ffff))
      #expect(!allowed.isEmpty && !allowed.contains { $0.overlaps(interruptWindow) }, "\(allowed)")
      let memory = try space.expose(UnsharedMemory(byteCount: 1), access: .readWrite)
      #expect(memory.byteCount == 4096 && memory.iova.rawValue != 0)
      let error = #expect(throws: KernelError.self) {
        _ = try space.expose(UnsharedMemory(byteCount: 4096), access: .read, at: interruptWindow.start)
      }
      #expect(error?.errno == .invalidArgument && error?.remedy?.contains("allowed") == true)
    }

    @Test(arguments: LabFunction.modes)
    func aMappingTakesItsPlaceAndGivesItBack(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      let iova = IOVA(0x10_0000)
      for byteCount in [4096, 1 << 21] {
        let memory = try space.expose(UnsharedMemory(byteCount: byteCount), access: .readWrite, at: iova)
        #expect(memory.iova == iova && memory.byteCount == byteCount)
        let taken = #expect(throws: KernelError.self) {
          _ = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite, at: iova)
        }
        #expect(taken?.errno == .fileExists)
        memory.store(UInt64(0x1122_3344), at: byteCount - 8)
        var back = try memory.reclaim()
        let last = unsafe back.bytes.unsafeLoad(fromByteOffset: byteCount - 8, as: UInt64.self)
        #expect(last == 0x1122_3344)
      }
    }

    /// A page that nobody has touched before it is mapped for reading is the same one that is written afterwards.
    @Test(arguments: LabFunction.modes)
    func theDeviceReadsWhatIsWrittenLater(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      let source = try space.expose(UnsharedMemory(byteCount: 4096), access: .read, sharing: .coherent)
      let target = try space.expose(UnsharedMemory(byteCount: 4096), access: .write, sharing: .coherent)
      source.store(UInt64(0x8877_6655_4433_2211), at: 0)
      try device.setBusMaster(true)
      let engine = EduEngine(try device.mapBAR(.bar0))
      try engine.load(from: source.iova, byteCount: 64)
      try engine.store(to: target.iova, byteCount: 64)
      try device.setBusMaster(false)
      #expect(target.load(UInt64.self, at: 0) == 0x8877_6655_4433_2211)
    }

    @Test(arguments: LabFunction.modes.filter(\.usesGroup))
    func aContainerCountsItsMappings(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      let container = try #require(space as? VFIOContainer)
      let before = try container.info()
      #expect(before.pageSizes & 0x1000 != 0)
      let available = try #require(before.availableMappings)
      let memory = try container.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      // iommufd's imitation has no such limit and always tells the same number.
      let expected = mode == .type1 || mode == .type1v2 ? available - 1 : available
      #expect(try container.info().availableMappings == expected)
      _ = try memory.reclaim()
      #expect(try container.info().availableMappings == available)
    }

    /// The kernel's own answers, past this library's bookkeeping.
    @Test(arguments: LabFunction.modes)
    func theKernelRefusesOverlapsAndStrangers(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      let memory = try MappedMemory.anonymous(byteCount: 8192)
      let range = IOVARange(start: IOVA(0x20_0000), last: IOVA(0x20_1fff))
      try unsafe space.mapPages(memory.baseAddress, to: range, access: .readWrite, sharing: .coherent)
      let overlap = #expect(throws: KernelError.self) {
        try unsafe space.mapPages(memory.baseAddress, to: range, access: .readWrite, sharing: .coherent)
      }
      #expect(overlap?.errno == .fileExists)
      try space.unmapPages(range)
      let nothing = #expect(throws: KernelError.self) { try space.unmapPages(range) }
      #expect(nothing?.errno == (mode == .iommufd ? .noSuchFileOrDirectory : nothing?.errno))
    }

    @Test(arguments: LabFunction.modes)
    func theLastPageOfTheLastRangeCanBeMapped(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let last = try #require(device.addressSpace.reservations.allowed.last).last
      let iova = IOVA(last.rawValue - 4095)
      let memory = try device.addressSpace.expose(
        UnsharedMemory(byteCount: 4096), access: .readWrite, at: iova)
      #expect(memory.iova == iova)
      _ = try memory.reclaim()
    }

    /// Root may lock without limit; a process without CAP_IPC_LOCK may not, and is told the numbers.
    @Test(arguments: LabFunction.eachInterface)
    func tooLittleLockableMemoryIsToldInNumbers(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      try MemoryLockFixture.limited(to: 1 << 20) {
        let error = #expect(throws: KernelError.self) {
          _ = try space.expose(UnsharedMemory(byteCount: 1 << 21), access: .readWrite)
        }
        #expect(error?.errno == .noMemory)
        let remedy = error?.remedy ?? ""
        #expect(remedy.contains("needed 2097152") && remedy.contains("limit 1048576"), "\(remedy)")
      }
      _ = try space.expose(UnsharedMemory(byteCount: 1 << 21), access: .readWrite).reclaim()
    }

    @Test(arguments: LabFunction.modes)
    func nothingMovesWhileBusMasterIsOff(_ mode: VFIOMode) throws {
      let driver = try EduDriver(try LabFunction.open(LabFunction.edu, mode))
      let sent = [UInt8](repeating: 0x5a, count: 256)
      try unsafe driver.copyToDevice(sent.span.bytes)
      let device = try driver.relinquish()
      #expect(try !device.configuration.isBusMasterEnabled)
      let memory = try device.addressSpace.expose(
        UnsharedMemory(byteCount: 4096), access: .readWrite, addressBits: 28)
      let engine = EduEngine(try device.mapBAR(.bar0))
      #expect(try Self.firstByteAfterTransfer(to: memory, by: engine) == 0, "the transfer was blocked")
      try device.setBusMaster(true)
      #expect(try Self.firstByteAfterTransfer(to: memory, by: engine) == 0x5a, "the same one is let through")
    }

    /// Lets edu write the beginning of its buffer to memory, and waits until it says that it is done.
    private static func firstByteAfterTransfer(
      to memory: borrowing DMAMemory, by engine: borrowing EduEngine
    ) throws -> UInt8 {
      try engine.store(to: memory.iova, byteCount: 256)
      memory.syncForCPU()
      return memory.load(UInt8.self, at: 0)
    }
  }
}
