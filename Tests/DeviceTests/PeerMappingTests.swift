// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore
import IOMMUFD
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// Registers of one device as memory of another; vfio_dma_mapping_mmio_test of the kernel among it.
  @Suite struct PeerMappingTests {
    private static let takesRegisters: [VFIOMode] = [.type1v2, .type1]

    /// Maps in the mode's space, past this library's types where they refuse it.
    private static func mapping(
      _ window: borrowing RegisterWindow, _ bytes: Range<Int>, in space: any AddressSpace
    ) throws -> IOVA {
      let container = try #require(space as? VFIOContainer)
      let mapping = try container.map(window, bytes: bytes)
      let iova = mapping.iova
      #expect(mapping.byteCount == bytes.count && mapping.iova(at: 8).rawValue == iova.rawValue + 8)
      try mapping.unmap()
      let range = IOVARange(start: iova, last: iova.advanced(byByteCount: bytes.count - 1))
      #expect(throws: KernelError.self) { try container.unmapPages(range) }
      return iova
    }

    private func check(_ window: borrowing RegisterWindow, _ bytes: Range<Int>, _ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.secondEdu, mode)
      let space = device.addressSpace
      guard mode != .iommufd else {
        // An IOAS has no operation for it; the one for memory is refused by the kernel.
        let base = try BarMapping(bytes.count)
        let range = IOVARange(start: IOVA(0x1000_0000), last: IOVA(0x1000_0000 + UInt64(bytes.count) - 1))
        let error = #expect(throws: KernelError.self) {
          try unsafe space.mapPages(
            base.memory.baseAddress, to: range, access: .readWrite, sharing: .coherent)
        }
        #expect(error?.operation == "IOMMU_IOAS_MAP")
        return
      }
      if Self.takesRegisters.contains(mode) {
        _ = try Self.mapping(window, bytes, in: space)
      } else {
        var caught: KernelError?
        do {
          _ = try Self.mapping(window, bytes, in: space)
        } catch let error as KernelError { caught = error }
        #expect(caught?.remedy?.contains(mode.rawValue) == true, "\(caught as Any)")
      }
    }

    @Test(arguments: LabFunction.modes)
    func aWholeBAR(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let window = try device.mapBAR(.bar0)
      try check(window, 0..<1 << 20, mode)
    }

    @Test(arguments: LabFunction.modes)
    func onePageOfABAR(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let window = try device.mapBAR(.bar0)
      try check(window, 4096..<8192, mode)
    }

    /// In this process the BAR begins one page behind a multiple of 1 GiB.
    @Test(arguments: LabFunction.modes)
    func aBARThatIsMappedMisaligned(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let bar = try BarMapping(1 << 20)
      #expect(UInt(bitPattern: unsafe bar.memory.baseAddress) % (1 << 30) == 4096)
      #expect(try device.configuration.vendorID == 0x1234)
      try check(bar.window(), 0..<1 << 20, mode)
    }

    /// Two containers of type 1: the one edu's DMA engine reaches the other's registers.
    @Test(arguments: takesRegisters)
    func aPeerReadsTheRegisters(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let peer = try LabFunction.open(LabFunction.secondEdu, mode)
      let space = peer.addressSpace
      let container = try #require(space as? VFIOContainer)
      let registers = try device.mapBAR(.bar0)
      let mapping = try container.map(
        registers, bytes: 0..<4096, access: .readWrite, at: IOVA(0x50_0000), addressBits: 28)
      #expect(mapping.iova == IOVA(0x50_0000))
      let memory = try container.expose(UnsharedMemory(byteCount: 4096), access: .readWrite, addressBits: 28)
      try peer.setBusMaster(true)
      let engine = EduEngine(try peer.mapBAR(.bar0))
      // The liveness register, which answers in reads of 4 bytes.
      registers.store(UInt32(0x0f0f_0f0f), at: 4)
      try engine.load(from: mapping.iova(at: 4), byteCount: 4)
      try engine.store(to: memory.iova, byteCount: 4)
      try peer.setBusMaster(false)
      #expect(memory.load(UInt32.self, at: 0) == ~0x0f0f_0f0f)
      let missing = #expect(throws: KernelError.self) {
        _ = try container.map(registers, bytes: 0..<2 << 20)
      }
      #expect(missing?.errno == .invalidArgument && missing?.remedy?.contains("whole pages") == true)
      // The mapping keeps the device open.
      _ = consume registers
      var caught: KernelError?
      do throws(KernelError) { try device.close() } catch { caught = error }
      #expect(caught?.errno == .resourceBusy)
      try mapping.unmap()
      _ = try memory.reclaim()
    }

    #if DEBUG
      @Test func everyCallMayFail() throws {
        let device = try LabFunction.open(LabFunction.edu, .type1v2)
        let peer = try LabFunction.open(LabFunction.secondEdu, .type1v2)
        let space = peer.addressSpace
        let container = try #require(space as? VFIOContainer)
        let window = try device.mapBAR(.bar0)
        var swept = 0
        for isDropped in [false, true] {
          var call = 0
          while true {
            call += 1
            let leaks = LeakCheck(concerning: concernsVFIO)
            let plan = FaultPlan(atCall: call, .fails(.ioError))
            do {
              try FaultPlan.$current.withValue(plan) {
                let mapping = try container.map(window, bytes: 0..<4096)
                if !isDropped { try mapping.unmap() }
              }
            } catch let error as KernelError {
              #expect(error.errno == .ioError && plan.wasReached)
            }
            try leaks.verify()
            if !plan.wasReached { break }
            swept += 1
          }
        }
        #expect(swept >= 4, "\(swept) calls")
      }
    #endif
  }
}

/// BAR0 of edu, mapped through sysfs one page behind a multiple of 1 GiB.
private struct BarMapping: ~Copyable {
  let memory: MappedMemory
  private let rest: MappedMemory

  init(_ byteCount: Int) throws {
    let file = try OwnedDescriptor.open(
      "/sys/bus/pci/devices/\(LabFunction.edu)/resource0", for: .readWrite)
    let all = try unsafe MappedMemory.anonymous(byteCount: 1 << 30, alignment: 1 << 30).relinquish()
    let base = try unsafe #require(all.baseAddress)
    memory = try unsafe MappedMemory(adopting: base + 4096, byteCount: byteCount).replaced(by: file)
    rest = unsafe MappedMemory(adopting: base + 4096 + byteCount, byteCount: (1 << 30) - 4096 - byteCount)
    _ = unsafe MappedMemory(adopting: base, byteCount: 4096)
  }

  /// The same as a window.
  consuming func window() throws -> RegisterWindow {
    let byteCount = memory.byteCount
    var areas = AreaList()
    areas.append(MappedArea(byteOffset: 0, memory: memory))
    let backing = DescriptorBacking(
      parent: Nobody(), descriptor: -1, fileOffset: 0, subject: "resource0", areas: areas)
    return backing.window(byteCount: byteCount)
  }

  private final class Nobody: Sendable {}
}
