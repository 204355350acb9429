// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing

@Suite struct BindingGuardTests {
  private let scene: BindingScene
  private let nvme = BindingScene.nvme
  private var tree: FakeSysfs { scene.tree }

  init() throws { scene = try BindingScene() }

  private func refusal(_ body: () throws(BindingError) -> Void) -> BindingRefusal? {
    do {
      try body()
      return nil
    } catch {
      guard case .refused(let refusal) = error else { return nil }
      return refusal
    }
  }

  /// Refused with force and without; nothing is touched, and nothing is in the journal.
  private func expectNever(
    _ reason: BindingRefusal.Reason, naming names: [String], _ address: PCIAddress,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    for force in [false, true] {
      let refusal = refusal { () throws(BindingError) in try scene.binding.bind([address], force: force) }
      #expect(refusal?.reason == reason, sourceLocation: sourceLocation)
      #expect(refusal?.address == address && refusal?.isForceable == false, sourceLocation: sourceLocation)
      for name in names {
        #expect(
          refusal?.description.contains(name) == true, "\(refusal as Any)", sourceLocation: sourceLocation)
      }
    }
    #expect(scene.responder.takeLog() == [], sourceLocation: sourceLocation)
    scene.expectUntouched(sourceLocation: sourceLocation)
  }

  /// Refused without force, done with it.
  private func expectForceable(
    _ reason: BindingRefusal.Reason, naming names: [String], _ address: PCIAddress,
    _ network: NetworkState = .init(),
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let refusal = refusal { () throws(BindingError) in try scene.binding(network).bind([address]) }
    #expect(refusal?.reason == reason, "\(refusal as Any)", sourceLocation: sourceLocation)
    #expect(refusal?.isForceable == true, sourceLocation: sourceLocation)
    for name in names {
      #expect(
        refusal?.description.contains(name) == true, "\(refusal as Any)", sourceLocation: sourceLocation)
    }
    scene.expectUntouched(sourceLocation: sourceLocation)
    try scene.binding(network).bind([address], force: true)
    #expect(scene.driver(address) == "vfio-pci", sourceLocation: sourceLocation)
    try scene.binding(network).restore()
    scene.expectUntouched(sourceLocation: sourceLocation)
  }

  private func addDisk() throws {
    let place = "pci0000:00/\(nvme)/nvme/nvme0"
    try tree.addBlockDevice("nvme0n1", at: place, number: "259:0")
    try tree.addBlockDevice("nvme0n1p1", at: "\(place)/nvme0n1", number: "259:1")
  }

  @Test func letsAnUnusedDiskGo() throws {
    try addDisk()
    try tree.mount("8:1", source: "/dev/sda1", on: "/")
    try scene.binding.bind([nvme])
    #expect(scene.driver(nvme) == "vfio-pci")
  }

  @Test func bridges() throws {
    try tree.addFunction("0000:00:05.0", classCode: "0x060400", headerType: 1)
    expectNever(.bridge, naming: ["060400", "behind"], address("0000:00:05.0"))
    // By its header alone as well.
    try tree.addFunction("0000:00:06.0", classCode: "0xff0000", headerType: 0x81)
    expectNever(.bridge, naming: [], address("0000:00:06.0"))
  }

  @Test func aMountedPartition() throws {
    try addDisk()
    try tree.mount("259:1", source: "/dev/root", on: "/home")
    expectNever(.mounted, naming: ["nvme0n1p1", "/home"], nvme)
    let refusal = refusal { () throws(BindingError) in try scene.binding.unbind([nvme], force: true) }
    #expect(refusal?.reason == .mounted)
  }

  @Test func aMountInTheFirstProcessesView() throws {
    try addDisk()
    try tree.write("1 1 259:0 / /data rw - ext4 /dev/nvme0n1 rw\n", to: "proc/1/mountinfo")
    expectNever(.mounted, naming: ["nvme0n1", "/data"], nvme)
  }

  @Test func btrfsShowsANumberOfItsOwn() throws {
    try addDisk()
    try tree.mount("0:35", source: "/dev/nvme0n1p1", on: "/srv", type: "btrfs")
    expectNever(.mounted, naming: ["nvme0n1p1", "/srv"], nvme)
  }

  @Test func aMountByAnotherNameOfTheNode() throws {
    try addDisk()
    try tree.write("", to: "dev/nvme0n1p1")
    try tree.link("dev/disk/by-id/x-part1", to: "../../nvme0n1p1")
    try tree.mount("0:35", source: "/dev/disk/by-id/x-part1", on: "/srv")
    expectNever(.mounted, naming: ["nvme0n1p1", "/srv"], nvme)
  }

  @Test func aSecondDeviceOfABtrfsVolume() throws {
    try addDisk()
    try tree.folder("sys/fs/btrfs/1234-abcd/devices/nvme0n1")
    expectNever(.mounted, naming: ["nvme0n1", "1234-abcd"], nvme)
  }

  @Test func swap() throws {
    try addDisk()
    try tree.write("Filename\tType\n/dev/nvme0n1p1   partition\t1\t0\t-2\n", to: "proc/swaps")
    expectNever(.swap, naming: ["nvme0n1p1", "swapoff"], nvme)
  }

  @Test func holders() throws {
    try addDisk()
    try tree.link("sys/devices/pci0000:00/\(nvme)/nvme/nvme0/nvme0n1/nvme0n1p1/holders/dm-3", to: "x")
    expectNever(.held, naming: ["nvme0n1p1", "dm-3"], nvme)
  }

  @Test func aDiskOfAVirtioFunction() throws {
    try tree.addBlockDevice("vda", at: "pci0000:00/0000:00:04.0/virtio1/block", number: "254:0")
    try tree.mount("254:0", source: "/dev/vda", on: "/")
    expectNever(.mounted, naming: ["vda"], BindingScene.idle)
  }

  @Test func aDiskOfAMultipathSubsystem() throws {
    let subsystem = "virtual/nvme-subsystem/nvme-subsys0"
    try tree.addBlockDevice("nvme0n1", at: subsystem, number: "259:4")
    try tree.link("sys/class/nvme-subsystem/nvme-subsys0", to: "../../devices/\(subsystem)")
    try tree.link("sys/devices/\(subsystem)/nvme0", to: "../../../pci0000:00/\(nvme)/nvme/nvme0")
    try tree.mount("259:4", source: "/dev/nvme0n1", on: "/var")
    expectNever(.mounted, naming: ["nvme0n1", "/var"], nvme)
  }

  @Test func whatCannotBeSeenIsNotTakenAsFree() throws {
    try addDisk()
    try FileManager.default.removeItem(atPath: tree.absolute("proc/self/mountinfo"))
    #expect(throws: BindingError.self) { try scene.binding.bind([nvme], force: true) }
    scene.expectUntouched()
  }

  @Test func anInterfaceWithAnAddress() throws {
    try tree.addFunction("0000:00:04.0", classCode: "0x020000", group: 3)
    try tree.addInterface("eth7", at: "pci0000:00/0000:00:04.0")
    let network = NetworkState(uses: [.init(interface: "eth7", kind: .address, bytes: [192, 0, 2, 7])])
    try expectForceable(.network, naming: ["eth7", "192.0.2.7"], BindingScene.idle, network)
  }

  @Test func anInterfaceWithARoute() throws {
    try tree.addInterface("eth7", at: "pci0000:00/0000:00:04.0/virtio2")
    let network = NetworkState(
      uses: [.init(interface: "eth7", kind: .route(prefixLength: 0), bytes: [UInt8](repeating: 0, count: 16))]
    )
    try expectForceable(.network, naming: ["eth7", "route", "/0"], BindingScene.idle, network)
  }

  @Test func anInterfaceBelowABridge() throws {
    try tree.addInterface("eth7", at: "pci0000:00/0000:00:04.0")
    try tree.addInterface("br0", at: "virtual")
    try tree.link("sys/class/net/eth7/upper_br0", to: "../../../../virtual/net/br0")
    let network = NetworkState(uses: [.init(interface: "br0", kind: .address, bytes: [10, 0, 0, 1])])
    try expectForceable(.network, naming: ["eth7", "br0", "10.0.0.1"], BindingScene.idle, network)
  }

  @Test func linkLocalAddressesAreNoUse() throws {
    try tree.addInterface("eth7", at: "pci0000:00/0000:00:04.0")
    let network = NetworkState(uses: [
      .init(interface: "eth7", kind: .address, bytes: [169, 254, 3, 4]),
      .init(interface: "eth7", kind: .address, bytes: [0xfe, 0x80] + [UInt8](repeating: 1, count: 14)),
      .init(
        interface: "eth7", kind: .route(prefixLength: 8), bytes: [0xff] + [UInt8](repeating: 0, count: 15)),
      .init(interface: "eth0", kind: .address, bytes: [10, 0, 0, 1]),
    ])
    try scene.binding(network).bind([BindingScene.idle])
    #expect(scene.driver(BindingScene.idle) == "vfio-pci")
  }

  @Test func theDisplayOfTheConsole() throws {
    try tree.write("1\n", to: "\(FakeSysfs.device("0000:00:04.0"))/boot_vga")
    try expectForceable(.bootDisplay, naming: ["display", "console"], BindingScene.idle)
  }

  @Test func aGroupWithOthers() throws {
    try expectForceable(.group, naming: ["group 2", "0000:00:03.1", "igb"], BindingScene.port0)
    try scene.binding.bind([BindingScene.port0, BindingScene.port1])
    #expect(scene.driver(BindingScene.port1) == "vfio-pci")
  }

  @Test func aGroupDoesNotMatterToOtherDrivers() throws {
    try scene.binding.unbind([BindingScene.port0])
    #expect(scene.driver(BindingScene.port0) == nil)
  }

  @Test func whatForceCannotHelpIsSaidFirst() throws {
    try tree.write("1\n", to: "\(FakeSysfs.device("0000:00:04.0"))/boot_vga")
    try addDisk()
    try tree.mount("259:1", source: "/dev/nvme0n1p1", on: "/")
    let refusal = refusal { () throws(BindingError) in try scene.binding.bind([BindingScene.idle, nvme]) }
    #expect(refusal?.reason == .mounted)
  }

  @Test func restoreSparesWhatSomeoneMountedSince() throws {
    try scene.binding.bind([BindingScene.idle])
    // Someone gave it to a storage driver behind our back, and mounted what that found.
    try tree.link("\(FakeSysfs.device("0000:00:04.0"))/driver", to: "../../../bus/pci/drivers/nvme")
    try tree.addBlockDevice("nvme9n1", at: "pci0000:00/0000:00:04.0/nvme/nvme9", number: "259:9")
    try tree.mount("259:9", source: "/dev/nvme9n1", on: "/mnt")
    let refusal = refusal { () throws(BindingError) in try scene.binding.restore() }
    #expect(refusal?.reason == .mounted && scene.driver(BindingScene.idle) == "nvme")
  }

  /// The function that the tests' own disk hangs on, where there is one.
  ///
  /// The guard only reads.
  @Test func theDiskOfThisMachine() throws {
    let table = try #require(FileHandle(forReadingAtPath: "/proc/self/mountinfo")).readToEnd() ?? Data()
    let text = String(decoding: table, as: UTF8.self)
    let rootLine = text.split(separator: "\n").map { $0.split(separator: " ") }.first {
      $0.count > 4 && $0[4] == "/"
    }
    let number = try #require(rootLine)[2]
    let target =
      (try? FileManager.default.destinationOfSymbolicLink(atPath: "/sys/dev/block/\(number)")) ?? ""
    guard let disk = target.split(separator: "/").compactMap({ PCIAddress(String($0)) }).last else { return }
    let refusals = try BindingGuard().refusals(of: [PCIBus().function(at: disk)], target: "vfio-pci")
    #expect(refusals.contains { $0.reason == .mounted && !$0.isForceable })
  }
}

@Suite struct NetworkStateTests {
  /// The routes in a tree; the addresses are always this machine's.
  private func routes(_ file: String, _ text: String) throws -> [NetworkState.Use] {
    let tree = try FakeSysfs()
    try tree.write(text + "\n", to: file)
    return try NetworkState.current(root: SystemRoot(tree.path)).uses.filter { $0.kind != .address }
  }

  @Test func readsRoutes() throws {
    let text = """
      Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
      eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
      eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
      eth1\t0000FEA9\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
      lost
      """
    let routes = try routes("proc/net/route", text)
    #expect(
      routes.map(\.description) == [
        "the route 0.0.0.0/0", "the route 192.0.2.0/24", "the route 169.254.0.0/16",
      ])
    #expect(routes.map(\.isLinkLocal) == [false, false, true])
  }

  @Test func readsRoutesOfVersion6() throws {
    let zeros = String(repeating: "0", count: 32)
    let text = """
      fd000000000000000000000000000000 40 \(zeros) 00 \(zeros) 00000100 00000001 00000000 00000001     eth0
      fe800000000000000000000000000000 40 \(zeros) 00 \(zeros) 00000100 00000002 00000000 00000001     eth0
      \(zeros) 00 \(zeros) 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth1
      ff000000000000000000000000000000 08 \(zeros) 00 \(zeros) 00000100 00000003 00000000 00000001     eth0
      \(zeros) 00 \(zeros) 00 \(zeros) ffffffff 00000001 00000000 00200200       lo
      """
    let routes = try routes("proc/net/ipv6_route", text)
    #expect(routes.map(\.interface) == ["eth0", "eth0", "eth1", "eth0"])
    #expect(routes.map(\.isLinkLocal) == [false, true, false, true])
    #expect(routes[0].description == "the route fd00:0:0:0:0:0:0:0/64")
  }

  @Test func readsThisMachine() throws {
    let uses = try NetworkState.current().uses
    #expect(uses.allSatisfy { $0.bytes.count == 4 || $0.bytes.count == 16 })
    #expect(uses.contains { $0.interface == "lo" } || uses.isEmpty)
  }
}
