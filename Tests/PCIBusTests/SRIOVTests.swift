// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing

/// A network card that can have four virtual functions; two of them are laid out, and appear with the number.
final class SRIOVScene {
  static let card = address("0000:01:00.0")
  static let first = address("0000:01:10.0")
  static let second = address("0000:01:10.2")

  let tree: FakeSysfs
  let root: SystemRoot
  var binding: DriverBinding { DriverBinding(root: root, network: NetworkState()) }
  var function: SRIOVFunction { SRIOVFunction(Self.card, binding: binding) }

  init(driver: String? = "igb", autoprobe: String = "1") throws {
    tree = try FakeSysfs()
    try tree.addDriver("vfio-pci")
    try tree.addFunction(
      "0000:01:00.0", classCode: "0x020000", driver: driver, group: 1,
      attributes: ["sriov_totalvfs": "4", "sriov_numvfs": "0", "sriov_drivers_autoprobe": autoprobe])
    for (index, name) in ["0000:01:10.0", "0000:01:10.2"].enumerated() {
      try tree.addFunction(name, classCode: "0x020000", group: 2 + index)
      try tree.link("\(FakeSysfs.device("0000:01:00.0"))/virtfn\(index)", to: "../\(name)")
      try tree.link("\(FakeSysfs.device(name))/physfn", to: "../0000:01:00.0")
    }
    root = SystemRoot(tree.path)
  }

  func attribute(_ name: String) -> String? {
    tree.text("\(FakeSysfs.device("0000:01:00.0"))/\(name)")?.split(separator: "\n").first.map(String.init)
  }

  func expectUntouched(_ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(attribute("sriov_numvfs") == "0", comment, sourceLocation: sourceLocation)
    #expect(attribute("sriov_drivers_autoprobe") == "1", comment, sourceLocation: sourceLocation)
    #expect(
      tree.names("run/swift-vfio/bindings").filter { !$0.hasPrefix(".") } == [], comment,
      sourceLocation: sourceLocation)
  }
}

@Suite struct SRIOVTests {
  @Test func functionsAreMadeAndTakenAway() throws {
    let scene = try SRIOVScene()
    #expect(try scene.function.create(2) == [SRIOVScene.first, SRIOVScene.second])
    #expect(scene.attribute("sriov_numvfs") == "2")
    #expect(scene.attribute("sriov_drivers_autoprobe") == "1", "it was off only meanwhile")
    let record = try #require(try scene.binding.records().first)
    #expect(record.address == SRIOVScene.card && record.previousAutoprobe == true)
    #expect(record.previousDriver == "igb" && record.target == "igb")
    try scene.function.destroy()
    scene.expectUntouched()
    try scene.function.destroy()
    scene.expectUntouched("a second time nothing happens")
  }

  @Test func anAutomaticBindingThatWasOffStaysOff() throws {
    let scene = try SRIOVScene(autoprobe: "0")
    try scene.function.create(2)
    #expect(scene.attribute("sriov_drivers_autoprobe") == "0")
    try scene.binding.restore()
    #expect(scene.attribute("sriov_numvfs") == "0" && scene.attribute("sriov_drivers_autoprobe") == "0")
  }

  private func failure(_ body: () throws(BindingError) -> Void) -> KernelError? {
    do throws(BindingError) {
      try body()
      return nil
    } catch {
      guard case .kernel(let error) = error else { return nil }
      return error
    }
  }

  @Test(arguments: [0, -1, 5, .max])
  func onlyAsManyAsThereCanBe(_ count: Int) throws {
    let scene = try SRIOVScene()
    let error = failure { () throws(BindingError) in try scene.function.create(count) }
    #expect(error?.errno == .outOfRange && error?.remedy?.contains("1 to 4") == true)
    scene.expectUntouched()
  }

  @Test func whatIsNoPhysicalFunctionIsNamed() throws {
    let scene = try SRIOVScene()
    let virtual = SRIOVFunction(SRIOVScene.first, binding: scene.binding)
    let error = failure { () throws(BindingError) in try virtual.create(1) }
    #expect(error?.errno == .notSupported && error?.remedy?.contains("0000:01:00.0") == true)
  }

  @Test func functionsThatAreThereAlreadyStay() throws {
    let scene = try SRIOVScene()
    try scene.function.create(2)
    let error = failure { () throws(BindingError) in try scene.function.create(1) }
    #expect(error?.errno == .resourceBusy && error?.remedy?.contains("2 already") == true)
    #expect(scene.attribute("sriov_numvfs") == "2")
  }

  /// A driver that makes fewer is no success: none are left.
  @Test func fewerThanAskedForAreTakenAway() throws {
    let scene = try SRIOVScene()
    let error = failure { () throws(BindingError) in try scene.function.create(3) }
    #expect(error?.errno == .ioError && error?.remedy == "The driver made 2.")
    scene.expectUntouched()
  }

  /// The record of an earlier binding survives, without what the virtual functions added.
  @Test func aRecordOfABindingStays() throws {
    let scene = try SRIOVScene()
    let responder = try SysfsResponder(scene.tree)
    defer { responder.stop() }
    try scene.binding.bind([SRIOVScene.card])
    try scene.function.create(2)
    #expect(try scene.binding.records().map(\.previousAutoprobe) == [true])
    try scene.function.destroy()
    let records = try scene.binding.records()
    #expect(records.map(\.previousAutoprobe) == [nil] && records.map(\.previousDriver) == ["igb"])
    try scene.function.create(2)
    try scene.binding.restore()
    responder.drain()
    scene.expectUntouched()
    #expect(scene.tree.linkName("\(FakeSysfs.device("0000:01:00.0"))/driver") == "igb")
  }

  @Test func aRecordIsReadAsItWasWritten() {
    for autoprobe in [true, false, nil] {
      let record = BindingRecord(
        address: SRIOVScene.card, bootID: "b", previousDriver: "igb", previousOverride: nil, target: "igb",
        previousAutoprobe: autoprobe)
      #expect(BindingRecord(record.description) == record)
    }
  }

  #if DEBUG
    /// Either they are there, or everything is as before; whichever call fails.
    @Test func creationIsAllOrNothing() throws {
      let scene = try SRIOVScene()
      let path = scene.tree.path
      let calls = try faultSweep(concerning: { $0.hasPrefix(path) }) { plan in
        do {
          try FaultPlan.$current.withValue(plan) { _ = try scene.function.create(2) }
          #expect(scene.attribute("sriov_numvfs") == "2")
          try scene.function.destroy()
        } catch is BindingError {}
        scene.expectUntouched("call \(plan.callCount)")
      }
      #expect(calls > 30)
    }

    @Test func destructionCanBeRepeated() throws {
      let scene = try SRIOVScene()
      let path = scene.tree.path
      let calls = try faultSweep(concerning: { $0.hasPrefix(path) }) { plan in
        try scene.function.create(2)
        _ = try? FaultPlan.$current.withValue(plan) { try scene.function.destroy() }
        try scene.function.destroy()
        scene.expectUntouched("call \(plan.callCount)")
      }
      #expect(calls > 20)
    }

    /// A process that is killed before any of its calls leaves what restore knows.
    @Test func creationMayBeKilledAtAnyCall() async throws {
      let scene = try SRIOVScene()
      let bus = PCIBus(root: scene.root)
      let (before, all, after) = (FaultPlan(atCall: 0), FaultPlan(atCall: 0), FaultPlan(atCall: 0))
      try FaultPlan.$current.withValue(before) { _ = try bus.function(at: SRIOVScene.card) }
      try FaultPlan.$current.withValue(all) { _ = try scene.function.create(2) }
      try FaultPlan.$current.withValue(after) { _ = try bus.function(at: SRIOVScene.card) }
      try scene.function.destroy()
      var wasLeft = false
      // Not at every question before the first change and after the last.
      for call in before.callCount...(all.callCount - after.callCount + 1) {
        await #expect(processExitsWith: .signal(SIGKILL)) {
          [root = scene.tree.path as String, call = call as Int] in
          let binding = DriverBinding(root: SystemRoot(root), network: NetworkState())
          try FaultPlan.$current.withValue(FaultPlan(atCall: call, .kills)) {
            _ = try SRIOVFunction(SRIOVScene.card, binding: binding).create(2)
          }
        }
        wasLeft = wasLeft || scene.attribute("sriov_numvfs") == "2"
        try scene.binding.restore()
        scene.expectUntouched("killed at call \(call)")
      }
      #expect(wasLeft, "some were killed after the change")
    }
  #endif
}
