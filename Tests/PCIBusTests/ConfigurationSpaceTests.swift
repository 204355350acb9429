// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import PCIBus
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// A space in memory, for what no device in the machine would say.
private final class MemorySpace: ConfigurationSpace {
  let byteCount: Int
  private let bytes: Mutex<[UInt8]>

  init(byteCount: Int, _ stores: [Int: UInt32] = [:], filling: UInt8 = 0) {
    self.byteCount = byteCount
    var bytes = [UInt8](repeating: filling, count: 4096)
    for (offset, value) in stores {
      for at in 0..<4 { bytes[offset + at] = UInt8(truncatingIfNeeded: value >> (8 * at)) }
    }
    self.bytes = Mutex(bytes)
  }

  func read(at byteOffset: Int, width: ConfigurationWidth) throws(KernelError) -> UInt32 {
    guard byteOffset >= 0, byteOffset + width.rawValue <= byteCount else {
      throw KernelError(operation: "read", errno: .invalidArgument, subject: "\(byteOffset)")
    }
    return bytes.withLock { bytes in
      (0..<width.rawValue).reduce(0) { $0 | UInt32(bytes[byteOffset + $1]) << (8 * $1) }
    }
  }

  func write(_ value: UInt32, at byteOffset: Int, width: ConfigurationWidth) throws(KernelError) {
    bytes.withLock { bytes in
      for at in 0..<width.rawValue { bytes[byteOffset + at] = UInt8(truncatingIfNeeded: value >> (8 * at)) }
    }
  }
}

private let header: [Int: UInt32] = [0x00: 0x10c9_8086, 0x04: 0x0010_0000, 0x34: 0x40]

@Suite struct CapabilityWalkTests {
  private func walk(_ stores: [Int: UInt32], byteCount: Int = 256) throws -> CapabilityWalk {
    try MemorySpace(byteCount: byteCount, header.merging(stores) { $1 }).capabilityWalk()
  }

  @Test func followsTheList() throws {
    let walk = try walk([0x40: 0x5001, 0x50: 0x7005, 0x70: 0xa011, 0xa0: 0x0010])
    #expect(walk.ending == .complete)
    #expect(walk.capabilities.map(\.id) == [.powerManagement, .msi, .msix, .express])
    #expect(walk.capabilities.map(\.byteOffset) == [0x40, 0x50, 0x70, 0xa0])
    #expect(walk.first(.msix)?.byteOffset == 0x70)
    #expect(walk.first(.sata) == nil)
  }

  @Test func hasNoneWithoutTheStatusBit() throws {
    #expect(try walk([0x04: 0]) == CapabilityWalk())
  }

  @Test func ignoresTheLowBitsOfPointers() throws {
    #expect(try walk([0x34: 0x43, 0x40: 0x0301]).capabilities.count == 1)
  }

  @Test func endsALoop() throws {
    let walk = try walk([0x40: 0x5001, 0x50: 0x4005])
    #expect(walk.ending == .loop)
    #expect(walk.capabilities.count == 2)
    #expect(try self.walk([0x40: 0x4001]).ending == .loop)
  }

  @Test func refusesAPointerIntoTheHeader() throws {
    #expect(try walk([0x40: 0x1001]).ending == .badPointer)
    #expect(try walk([0x34: 0x04]) == CapabilityWalk(ending: .badPointer))
  }

  @Test func saysWhereItCannotSee() throws {
    #expect(try walk([:], byteCount: 64) == CapabilityWalk(ending: .truncated))
    let space = MemorySpace(byteCount: 64, header)
    #expect(try space.extendedCapabilityWalk() == CapabilityWalk(ending: .truncated))
    // 128 bytes: CardBus bridges show as many to everyone.
    #expect(try walk([0x40: 0x9001, 0x90: 0x0005], byteCount: 128).ending == .truncated)
  }

  @Test func noticesAnAbsentDevice() throws {
    let absent = MemorySpace(byteCount: 4096, filling: 0xff)
    #expect(try absent.capabilityWalk() == CapabilityWalk(ending: .deviceAbsent))
    #expect(try absent.extendedCapabilityWalk() == CapabilityWalk(ending: .deviceAbsent))
    #expect(try walk([0x40: 0x5001, 0x50: 0xffff]).ending == .deviceAbsent)
    #expect(try walk([0x40: 0xff01]).ending == .deviceAbsent)
    #expect(try absent.vendorID == 0xffff)
  }

  @Test func startsElsewhereInACardBusBridge() throws {
    let walk = try walk([0x0c: 0x0002_0000, 0x14: 0x80, 0x80: 0x0001])
    #expect(walk.capabilities == [PCICapability(id: .powerManagement, byteOffset: 0x80)])
  }

  @Test(arguments: 0..<200) func endsWhateverADeviceSays(_ seed: UInt64) throws {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    var stores: [Int: UInt32] = [:]
    for offset in stride(from: 0x34, to: 4096, by: 4) {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      stores[offset] = UInt32(truncatingIfNeeded: state >> 32)
    }
    let space = MemorySpace(byteCount: seed % 3 == 0 ? 256 : 4096, header.merging(stores) { $0 | $1 })
    #expect(try space.capabilityWalk().capabilities.count <= 48)
    #expect(try space.extendedCapabilityWalk().capabilities.count <= 960)
  }
}

@Suite struct ExtendedCapabilityWalkTests {
  private func walk(_ stores: [Int: UInt32], byteCount: Int = 4096) throws -> CapabilityWalk {
    try MemorySpace(byteCount: byteCount, header.merging(stores) { $1 }).extendedCapabilityWalk()
  }

  @Test func followsTheList() throws {
    let walk = try walk([0x100: 0x1402_0001, 0x140: 0xffc1_0010, 0xffc: 0x0001_001b])
    #expect(walk.ending == .complete)
    #expect(walk.capabilities.map(\.id) == [.advancedErrorReporting, .sriov, .pasid])
    #expect(walk.capabilities.map(\.version) == [2, 1, 1])
    #expect(walk.capabilities.map(\.byteOffset) == [0x100, 0x140, 0xffc])
  }

  @Test func passesOverAPlaceHolder() throws {
    let walk = try walk([0x100: 0x1400_0000, 0x140: 0x0001_0010])
    #expect(walk.capabilities.map(\.id) == [.sriov])
  }

  @Test func endsBadLists() throws {
    #expect(try walk([0x100: 0x1401_0001, 0x140: 0x1001_0010]).ending == .loop)
    #expect(try walk([0x100: 0x0401_0001]).ending == .badPointer)
    #expect(try walk([0x100: 0x1401_0001, 0x140: 0xffff_ffff]).ending == .deviceAbsent)
    #expect(try walk([:]) == CapabilityWalk())
    #expect(try walk([0x100: 0xffff_ffff]) == CapabilityWalk())
    #expect(try walk([:], byteCount: 256) == CapabilityWalk())
  }

  @Test func namesCapabilities() {
    #expect(PCICapabilityID.msix.description == "MSI-X")
    #expect(PCICapabilityID.extended(0x10).name == "Single Root I/O Virtualization")
    #expect(PCICapabilityID.standard(0x10) == .express)
    #expect(PCICapabilityID.extended(0x0fff).description == "extended 0x0fff")
    #expect(PCICapabilityID.standard(0x7f).description == "capability 0x7f")
  }
}

@Suite struct SysfsConfigurationSpaceTests {
  private let address: PCIAddress
  private let tree: FakeSysfs
  private let config = "\(FakeSysfs.device("0000:00:02.0"))/config"

  init() throws {
    tree = try FakeSysfs()
    try tree.addFunction("0000:00:02.0")
    address = try #require(PCIAddress("0000:00:02.0"))
  }

  private func open(_ access: FileAccess = .read) throws -> SysfsConfigurationSpace {
    try SysfsConfigurationSpace(of: address, root: SystemRoot(tree.path), for: access)
  }

  @Test(arguments: [(4096, 4096), (256, 256), (64, 64), (0, 0)]) func knowsWhatItSees(
    _ file: Int, _ visible: Int
  ) throws {
    try tree.write(Data(count: file), to: config)
    #expect(try open().byteCount == visible)
  }

  @Test func readsAndWritesLittleEndian() throws {
    let space = try open(.readWrite)
    #expect(try space.vendorID == 0x8086)
    #expect(try space.deviceID == 0x10c9)
    #expect(try space.read32(at: 0) == 0x10c9_8086)
    #expect(try space.isBusMasterEnabled == false)
    try space.setBusMaster(true)
    #expect(try space.isBusMasterEnabled)
    #expect(try space.command == .busMaster)
    try space.write32(0x1234_5678, at: 0x40)
    #expect(try space.read8(at: 0x40) == 0x78)
    #expect(try space.read16(at: 0x42) == 0x1234)
    try space.write8(0xab, at: 0x41)
    #expect(try space.read32(at: 0x40) == 0x1234_ab78)
  }

  @Test(arguments: [(256, 1), (255, 2), (1, 2), (2, 4), (-1, 1), (Int.max - 3, 4)])
  func refusesWhatIsOutside(_ offset: Int, _ bytes: Int) throws {
    let space = try open(.readWrite)
    let width = try #require(ConfigurationWidth(rawValue: bytes))
    let error = #expect(throws: KernelError.self) { _ = try space.read(at: offset, width: width) }
    #expect(error?.errno == .invalidArgument)
    #expect(throws: KernelError.self) { try space.write(0, at: offset, width: width) }
  }

  @Test func advisesRootWhereItSees64Bytes() throws {
    try tree.write(Data(count: 64), to: config)
    let space = try open()
    let error = #expect(throws: KernelError.self) { _ = try space.read8(at: 64) }
    #expect(error?.remedy?.contains("root") == true)
  }

  @Test func namesAnAbsentFunction() throws {
    let absent = try #require(PCIAddress("0000:00:1f.7"))
    let error = #expect(throws: KernelError.self) {
      _ = try SysfsConfigurationSpace(of: absent, root: SystemRoot(tree.path))
    }
    #expect(error?.operation == "find")
  }
}
