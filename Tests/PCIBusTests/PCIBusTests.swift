// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing

@Suite struct PCIBusTests {
  private let tree: FakeSysfs
  private var bus: PCIBus { PCIBus(root: SystemRoot(tree.path)) }

  init() throws { tree = try FakeSysfs() }

  private func function(_ address: String) throws -> PCIFunctionInfo {
    try bus.function(at: #require(PCIAddress(address)))
  }

  @Test func listsSorted() throws {
    for address in ["0000:01:00.0", "0000:00:02.1", "10000:00:00.0", "0000:00:02.0"] {
      try tree.addFunction(address)
    }
    let listed = try bus.functions().map(\.address.description)
    #expect(listed == ["0000:00:02.0", "0000:00:02.1", "0000:01:00.0", "10000:00:00.0"])
  }

  @Test func readsPlainFacts() throws {
    try tree.addFunction("0000:00:02.0")
    let facts = try function("0000:00:02.0")
    #expect(facts.vendorID == 0x8086)
    #expect(facts.deviceID == 0x10c9)
    #expect(facts.subsystemVendorID == 0x1af4)
    #expect(facts.subsystemDeviceID == 0x1100)
    #expect(facts.revision == 1)
    #expect(facts.classCode.base == 1 && facts.classCode.sub == 8 && facts.classCode.interface == 2)
    #expect(facts.headerType == 0)
    #expect(
      facts.driver == nil && facts.driverOverride == nil && facts.iommuGroup == nil && facts.numaNode == nil)
    #expect(facts.bars.isEmpty)
    #expect(!facts.isEnabled && !facts.isBootVGA && !facts.isBridge && !facts.isBoundToVFIO)
    #expect(
      facts.virtualFunctionCounts == nil && facts.physicalFunction == nil && facts.vfioDeviceName == nil)
  }

  @Test func readsWhatOnlySomeHave() throws {
    try tree.addFunction(
      "0000:00:02.0", driver: "vfio-pci", group: 7,
      attributes: [
        "numa_node": "1", "enable": "1", "boot_vga": "1", "driver_override": "vfio-pci",
        "sriov_totalvfs": "8",
        "sriov_numvfs": "2",
      ])
    let device = FakeSysfs.device("0000:00:02.0")
    try tree.link("\(device)/virtfn0", to: "../0000:00:02.1")
    try tree.link("\(device)/virtfn1", to: "../0000:00:02.2")
    try tree.folder("\(device)/vfio-dev/vfio3")
    try tree.addFunction("0000:00:02.1")
    try tree.link("\(FakeSysfs.device("0000:00:02.1"))/physfn", to: "../0000:00:02.0")
    let facts = try function("0000:00:02.0")
    #expect(facts.numaNode == 1 && facts.iommuGroup == 7)
    #expect(facts.isEnabled && facts.isBootVGA && facts.isBoundToVFIO)
    #expect(facts.driver == "vfio-pci" && facts.driverOverride == "vfio-pci")
    #expect(facts.virtualFunctionCounts == .init(total: 8, enabled: 2))
    #expect(facts.virtualFunctions.map(\.description) == ["0000:00:02.1", "0000:00:02.2"])
    #expect(facts.vfioDeviceName == "vfio3")
    #expect(try function("0000:00:02.1").physicalFunction == facts.address)
  }

  @Test func readsBARs() throws {
    let resource = """
      0x00000000febc0000 0x00000000febdffff 0x0000000000040200
      0x000000000000e000 0x000000000000e01f 0x0000000000040101
      0x0000380000000000 0x00003800000fffff 0x000000000014220c
      0x0000000000000000 0x0000000000000000 0x0000000000000000
      0x0000000000000000 0x0000000000003fff 0x0000000020140204
      0x0000000000000010 0x000000000000000f 0x0000000000040200
      0x00000000feb80000 0x00000000febbffff 0x000000000004e200
      """
    try tree.addFunction("0000:00:02.0", attributes: ["resource": resource])
    let bars = try function("0000:00:02.0").bars
    #expect(bars.map(\.index) == [.bar0, .bar1, .bar2, .bar4])
    #expect(bars.map(\.kind) == [.memory32, .io, .memory64, .memory64])
    #expect(bars.map(\.byteCount) == [0x20000, 0x20, 0x100000, 0x4000])
    #expect(bars.map(\.isPrefetchable) == [false, false, true, false])
    #expect(bars.map { $0.hostAddress?.rawValue } == [0xfebc_0000, 0xe000, 0x3800_0000_0000, nil])
    #expect(PCIBAR.Index(rawValue: 6) == nil && PCIBAR.Index(rawValue: -1) == nil)
  }

  @Test(arguments: ["garbage", "", "0x0 0x1", "0x0 0xffffffffffffffff 0x200", "0x1 0x2 0x200 0x3"])
  func survivesAnyResourceFile(_ text: String) throws {
    try tree.addFunction("0000:00:02.0", attributes: ["resource": text])
    #expect(try function("0000:00:02.0").bars.isEmpty)
  }

  @Test func namesAnAbsentFunction() throws {
    let error = #expect(throws: KernelError.self) { _ = try function("0000:00:1f.0") }
    #expect(error?.operation == "find" && error?.subject == "0000:00:1f.0")
    #expect(error?.remedy?.contains("vfioctl list") == true)
    #expect(throws: KernelError.self) { _ = try bus.group(99) }
  }

  @Test func leavesOutAFunctionThatGoes() throws {
    try tree.addFunction("0000:00:02.0")
    try tree.link(FakeSysfs.device("0000:00:03.0"), to: "../../../devices/pci0000:00/0000:00:03.0")
    #expect(try bus.functions().count == 1)
  }

  @Test func aDeviceThatIsGoneHasNoHeaderType() throws {
    try tree.addFunction("0000:00:02.0")
    try tree.write(Data(repeating: 0xff, count: 256), to: "\(FakeSysfs.device("0000:00:02.0"))/config")
    #expect(try function("0000:00:02.0").headerType == nil)
  }

  /// The machine that the tests run on, whatever it has.
  @Test func readsThisMachine() throws {
    let functions = try PCIBus().functions()
    for function in functions { #expect(try PCIBus().function(at: function.address) == function) }
    #expect(functions.map(\.address) == functions.map(\.address).sorted())
  }
}

@Suite struct IOMMUGroupTests {
  @Test func isViableWithDriversThatDoNotOwnMemory() throws {
    let tree = try FakeSysfs()
    for (at, driver) in ["vfio-pci", nil, "pci-stub", "pcieport", "mlx5_vfio_pci"].enumerated() {
      try tree.addFunction("0000:00:0\(at).0", driver: driver, group: 3)
    }
    var group = try PCIBus(root: SystemRoot(tree.path)).group(3)
    #expect(group.members.count == 5 && group.isViable && group.kind == .dmaFlushQueue)
    #expect(group.blockerRemedy == nil)
    try tree.addFunction("0000:00:05.0", driver: "nvme", group: 3)
    try tree.addFunction("0000:00:06.0", driver: "igb", group: 3)
    group = try PCIBus(root: SystemRoot(tree.path)).group(3)
    #expect(!group.isViable)
    #expect(group.blockers.map(\.description) == ["0000:00:05.0 (nvme)", "0000:00:06.0 (igb)"])
    let remedy = try #require(group.blockerRemedy)
    #expect(remedy.contains("0000:00:05.0 (nvme), 0000:00:06.0 (igb)") && !remedy.contains("pcieport"))
    let nvme = try #require(PCIAddress("0000:00:05.0"))
    #expect(group.blockers(binding: [nvme]).map(\.name) == ["0000:00:06.0"])
  }

  @Test func countsDevicesThatAreNotPCI() {
    let group = IOMMUGroup(number: 1, members: [.init(name: "fe000000.dma", driver: "pl330")], kind: nil)
    #expect(group.blockers.count == 1 && group.blockers[0].address == nil)
  }
}

@Suite struct PCINameDatabaseTests {
  @Test(.enabled(if: FileManager.default.fileExists(atPath: "/usr/share/misc/pci.ids"), "needs pci.ids"))
  func knowsNamesOfThisMachinesList() {
    let names = PCINameDatabase()
    #expect(names.vendorName(0x8086) == "Intel Corporation")
    #expect(names.deviceName(vendorID: 0x8086, deviceID: 0x10c9) == "82576 Gigabit Network Connection")
    #expect(names.className(PCIClassCode(rawValue: 0x010802)) == "Non-Volatile memory controller")
    #expect(names.deviceName(vendorID: 0x8086, deviceID: 0xfffe) == nil)
  }

  @Test func readsAListOfItsOwn() throws {
    let tree = try FakeSysfs()
    try tree.write("1234  Some maker\n\t11e8  Teaching device\nC 02  Network\n\t00  Ether\n", to: "pci.ids")
    let names = PCINameDatabase(listPath: tree.absolute("pci.ids"))
    #expect(names.vendorName(0x1234) == "Some maker")
    #expect(names.deviceName(vendorID: 0x1234, deviceID: 0x11e8) == "Teaching device")
    #expect(names.className(PCIClassCode(rawValue: 0x020000)) == "Ether")
    #expect(names.vendorName(0x4321) == nil)
    try FileManager.default.removeItem(atPath: tree.absolute("pci.ids"))
    #expect(names.vendorName(0x1234) == "Some maker", "a lookup reads no file")
    try tree.addFunction("0000:00:02.0", attributes: ["vendor": "0x1234", "device": "0x11e8"])
    let function = try #require(PCIBus(root: SystemRoot(tree.path)).functions().first)
    #expect(names.names(of: function).device == "Teaching device")
  }

  /// libpci's own answer to a broken list is to end the process.
  @Test(arguments: ["no such file", "1234\n\tgarbage here\nzz", "\t\t\tx\n"]) func survivesABrokenList(
    _ text: String
  ) throws {
    let tree = try FakeSysfs()
    if text != "no such file" { try tree.write(text, to: "pci.ids") }
    let names = PCINameDatabase(listPath: tree.absolute("pci.ids"))
    #expect(names.vendorName(0x4321) == nil)
    #expect(names.vendorName(0x4321) == nil)
  }
}
