// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import DriverCore
import Glibc
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  @Suite struct RegionTests {
    @Test(arguments: LabFunction.modes)
    func aDeviceHasNineRegions(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.igb, mode)
      #expect(device.info.isPCI && device.info.isResettable && device.info.interruptIndexCount == 5)
      #expect(device.info.regionCount == 9 && device.regions.map(\.index.rawValue) == Array(0..<9))
      #expect(device.regions.allSatisfy { $0.type == nil })
      let others = (device.region(of: .intelGraphicsOpRegion), device.region(VFIORegionIndex(9)))
      #expect(others.0 == nil && others.1 == nil)
      let found = device.region(.configuration)
      let configuration = try #require(found)
      #expect(configuration.byteCount == 4096 && configuration.isWritable)
      #expect(device.info.atomicCompletions.isEmpty, "QEMU's root port completes none")
    }

    /// Only a display has the legacy ranges of VGA.
    @Test func whatIsNotThereIsRefused() throws {
      let device = try LabFunction.open(LabFunction.edu, LabFunction.anyMode)
      for index in [VFIORegionIndex.vga, .rom, .bar(5), VFIORegionIndex(9)] {
        let error = #expect(throws: KernelError.self) { _ = try device.mapRegion(index) }
        #expect(error?.errno == .noSuchAddressOrDevice && error?.subject.contains("\(index)") == true)
      }
    }

    @Test(arguments: LabFunction.modes)
    func aROMIsReadOnly(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.testDevice, mode)
      let found = device.region(.rom)
      let rom = try #require(found)
      #expect(rom.byteCount > 0 && rom.isReadable && !rom.isWritable && rom.mappableAreas.isEmpty)
      let window = try device.mapRegion(.rom)
      #expect(window.mappedByteCount == 0)
      #expect(window.load(UInt16.self, at: 0) == 0xaa55, "the signature of an expansion ROM")
      #expect(window.takeFault() == nil)
      window.store(UInt32(0), at: 0)
      #expect(window.takeFault()?.errno == .invalidArgument)
      #expect(window.load(UInt16.self, at: 0) == 0xaa55)
    }

    /// pci-testdev's BAR 1 is of I/O ports: reached through the kernel, whatever the width.
    @Test(arguments: LabFunction.modes)
    func portsAreReachedThroughTheKernel(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.testDevice, mode)
      let found = device.region(.bar(1))
      let ports = try #require(found)
      #expect(ports.byteCount == 256 && ports.mappableAreas.isEmpty)
      let window = try device.mapBAR(.bar1)
      #expect(window.mappedByteCount == 0)
      // Byte 0 chooses a test by its number among those of ports, and tells its number among all; the name
      // from byte 16 on ends with a 0.
      window.store(UInt8(0), at: 0)
      #expect(window.takeFault() == nil)
      #expect(window.load(UInt8.self, at: 0) == 3)
      let name = (16..<32).map { window.load(UInt8.self, at: $0) }.prefix { $0 != 0 }
      #expect(String(decoding: name, as: UTF8.self).hasPrefix("portio"), "\(name)")
      #expect(window.takeFault() == nil)
    }

    /// Of every BAR with an MSI-X table each word is the same by mapping and by pread; only the table itself is
    /// hidden from pread, which reads it as all ones.
    @Test(arguments: [LabFunction.nvme, LabFunction.igb])
    func aMappingAndTheKernelAgreeAroundTheMSIXTable(_ address: PCIAddress) throws {
      let device = try LabFunction.open(address, LabFunction.anyMode)
      let table = try Self.table(of: device.configuration)
      let found = device.region(.bar(table.bar))
      let region = try #require(found)
      #expect(region.isMSIXMappable && region.mappableAreas == [0..<region.byteCount])
      let bar = try #require(PCIBAR.Index(rawValue: table.bar))
      let mapped = try device.mapBAR(bar)
      let kernel = try device.unmappedWindow(bar)
      #expect(mapped.mappedByteCount == Int(region.byteCount) && kernel.mappedByteCount == 0)
      var hidden = 0
      for offset in stride(from: 0, to: mapped.byteCount, by: 4) {
        let (direct, read) = (mapped.load(UInt32.self, at: offset), kernel.load(UInt32.self, at: offset))
        if table.range.contains(offset) {
          hidden += 1
          #expect(read == .max, "\(address) at \(offset)")
        } else {
          #expect(direct == read, "\(address) at \(offset)")
        }
      }
      #expect(hidden * 4 == table.range.count)
      // The mapping sees the table itself: the kernel masked every vector when it opened the device.
      #expect(mapped.load(UInt32.self, at: table.range.lowerBound + 12) & 1 == 1)
      #expect(mapped.takeFault() == nil && kernel.takeFault() == nil)
    }

    private static func table(
      of space: any ConfigurationSpace
    ) throws -> (bar: Int, range: Range<Int>) {
      let place = try #require(
        try space.capabilityWalk().capabilities.first { $0.id.description.contains("MSI-X") }?.byteOffset)
      let count = Int(try space.read16(at: place + 2) & 0x7ff) + 1
      let pointer = try space.read32(at: place + 4)
      let start = Int(pointer & ~7)
      return (Int(pointer & 7), start..<(start + count * 16))
    }

    /// The controller memory buffer of 16 MiB: at an address for pages of 2 MiB, and so with 8 faults, not 4096.
    @Test(arguments: LabFunction.modes)
    func aLargeBARIsMappedByHugePages(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.nvme, mode)
      #expect(device.resources.barByteCounts[2] == 16 << 20)
      let window = try device.mapBAR(.bar2)
      #expect(window.mappedByteCount == 16 << 20)
      let mapping = try #require(
        try TextFile.contents(of: "/proc/self/maps").split(separator: "\n")
          .compactMap { Self.range($0) }.first { $0.count == 16 << 20 && $0.lowerBound % (2 << 20) == 0 })
      #expect(mapping.lowerBound % (2 << 20) == 0)
      let before = Self.faults()
      for offset in stride(from: 0, to: window.byteCount, by: 4096) {
        window.store(UInt64(offset), at: offset)
      }
      let faults = Self.faults() - before
      print("16 MiB of a BAR touched page by page in mode \(mode.rawValue): \(faults) page faults")
      #expect(faults < 100)
      let kernel = try device.unmappedWindow(.bar2)
      for offset in stride(from: 0, to: window.byteCount, by: 1 << 20) {
        #expect(kernel.load(UInt64.self, at: offset) == UInt64(offset))
        kernel.store(~UInt64(offset), at: offset + 8)
        #expect(window.load(UInt64.self, at: offset + 8) == ~UInt64(offset))
      }
    }

    /// The addresses of a line of /proc/self/maps that is a VFIO device's.
    private static func range(_ line: Substring) -> Range<UInt>? {
      guard line.contains("vfio") else { return nil }
      let ends = line.prefix { $0 != " " }.split(separator: "-").compactMap { UInt($0, radix: 16) }
      return ends.count == 2 ? ends[0]..<ends[1] : nil
    }

    private static func faults() -> Int {
      var usage = rusage()
      unsafe getrusage(0, &usage)  // RUSAGE_SELF
      return usage.ru_minflt
    }
  }
}
