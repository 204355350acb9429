// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import PCIBus
import SystemPackage
import Synchronization
import TestSupport
import Testing

@Suite struct DriverBindingTests {
  private let scene: BindingScene
  private let nvme = BindingScene.nvme

  init() throws { scene = try BindingScene() }

  private func kernelError(_ body: () throws(BindingError) -> Void) -> KernelError? {
    do {
      try body()
      return nil
    } catch {
      if case .kernel(let error) = error { return error }
      return nil
    }
  }

  @Test func bindsAndRestores() throws {
    try scene.binding.bind([nvme])
    #expect(scene.driver(nvme) == "vfio-pci" && scene.override(nvme) == "vfio-pci")
    #expect(scene.responder.takeLog() == ["unbind nvme \(nvme)", "probe \(nvme)"])
    let record = try #require(scene.binding.records().first)
    #expect(record.address == nvme && record.previousDriver == "nvme" && record.previousOverride == nil)
    #expect(record.target == "vfio-pci" && record.bootID == "11111111-2222-3333-4444-555555555555")
    #expect(try scene.binding.restore() == [nvme])
    #expect(scene.responder.takeLog() == ["unbind vfio-pci \(nvme)", "probe \(nvme)"])
    scene.expectUntouched()
    #expect(try scene.binding.restore() == [])
    #expect(scene.responder.takeLog() == [])
  }

  @Test func restoresNothingWhereNothingWasDone() throws {
    #expect(try scene.binding.restore() == [])
    #expect(try scene.binding.restore([nvme]) == [])
    #expect(try scene.binding.records() == [])
    #expect(scene.tree.names("run") == [])
  }

  @Test func bindsAFunctionWithoutDriver() throws {
    try scene.binding.bind([BindingScene.idle])
    #expect(scene.responder.takeLog() == ["probe 0000:00:04.0"])
    try scene.binding.restore([BindingScene.idle])
    #expect(scene.responder.takeLog() == ["unbind vfio-pci 0000:00:04.0"])
    scene.expectUntouched()
  }

  @Test func keepsAnOverrideOfOthers() throws {
    try scene.tree.write("nvme\n", to: "\(FakeSysfs.device("\(nvme)"))/driver_override")
    try scene.binding.bind([nvme])
    #expect(try scene.binding.records().first?.previousOverride == "nvme")
    try scene.binding.restore()
    #expect(scene.override(nvme) == "nvme" && scene.driver(nvme) == "nvme")
  }

  @Test func leavesWhatIsBoundAlready() throws {
    try scene.binding.bind([nvme])
    _ = scene.responder.takeLog()
    try scene.binding.bind([nvme, nvme])
    #expect(scene.responder.takeLog() == [])
    try scene.binding.restore()
    scene.expectUntouched()
  }

  @Test func theSecondBindKeepsTheFirstRecord() throws {
    try scene.binding.bind([nvme])
    try scene.binding.bind([nvme], to: "igb")
    #expect(scene.driver(nvme) == "igb")
    #expect(try scene.binding.records().first?.previousDriver == "nvme")
    try scene.binding.unbind([nvme])
    #expect(scene.driver(nvme) == nil)
    try scene.binding.restore()
    scene.expectUntouched()
  }

  @Test func unbinds() throws {
    try scene.binding.unbind([nvme, BindingScene.idle])
    #expect(scene.driver(nvme) == nil && scene.journal == ["\(nvme)"])
    #expect(try scene.binding.records().first?.target == nil)
    try scene.binding.restore()
    scene.expectUntouched()
  }

  @Test func aRecordOfAnotherBootIsOnlyDropped() throws {
    try scene.binding.bind([nvme])
    _ = scene.responder.takeLog()
    try scene.tree.write("another-boot\n", to: "proc/sys/kernel/random/boot_id")
    #expect(try scene.binding.records() == [])
    #expect(try scene.binding.restore() == [])
    #expect(scene.journal == [] && scene.driver(nvme) == "vfio-pci" && scene.responder.takeLog() == [])
  }

  @Test func aRecordOfAnotherBootIsReplaced() throws {
    try scene.binding.bind([nvme])
    try scene.tree.write("another-boot\n", to: "proc/sys/kernel/random/boot_id")
    try scene.binding.bind([nvme], to: "igb")
    #expect(try scene.binding.records().first?.previousDriver == "vfio-pci")
  }

  @Test func aRecordOfAFunctionThatIsGoneIsDropped() throws {
    try scene.binding.bind([nvme])
    try FileManager.default.removeItem(atPath: scene.tree.absolute(FakeSysfs.device("\(nvme)")))
    #expect(try scene.binding.restore() == [])
    #expect(scene.journal == [])
  }

  @Test func aDamagedRecordIsNotGuessedAt() throws {
    try scene.binding.bind([nvme, BindingScene.idle])
    try scene.tree.write(
      "swift-vfio binding 1\nfunction 0000:00:02.0\n", to: "run/swift-vfio/bindings/\(nvme)")
    let error = kernelError { () throws(BindingError) in try scene.binding.restore() }
    #expect(error?.errno == .badMessage && error?.subject.hasSuffix("bindings/\(nvme)") == true)
    // The others come back all the same.
    #expect(scene.driver(BindingScene.idle) == nil && scene.journal == ["\(nvme)"])
  }

  @Test func aMissingDriverIsNamedBeforeAnythingIsDone() throws {
    try FileManager.default.removeItem(atPath: scene.tree.absolute("sys/bus/pci/drivers/vfio-pci"))
    let error = kernelError { () throws(BindingError) in try scene.binding.bind([nvme]) }
    #expect(error?.errno == .noSuchFileOrDirectory)
    #expect(
      error?.remedy?.contains("modprobe vfio-pci") == true
        && error?.remedy?.contains("CONFIG_VFIO_PCI") == true)
    scene.expectUntouched()
  }

  @Test(arguments: ["", "a/b", "..", "nvme\n", "a b"]) func aNameOfADriverIsNoPath(_ name: String) {
    let error = kernelError { () throws(BindingError) in try scene.binding.bind([nvme], to: name) }
    #expect(error?.errno == .invalidArgument)
  }

  @Test func anAbsentFunctionStopsAll() throws {
    let error = kernelError { () throws(BindingError) in
      try scene.binding.bind([nvme, address("0000:07:00.0")])
    }
    #expect(error?.operation == "find" && error?.subject == "0000:07:00.0")
    scene.expectUntouched()
  }

  @Test func aRefusingDriverMeansAllGoBack() throws {
    scene.responder.refuse(["vfio-pci"])
    let error = kernelError { () throws(BindingError) in
      try scene.binding(settleLimit: .seconds(1)).bind([nvme, BindingScene.port0, BindingScene.port1])
    }
    #expect(error?.operation == "drivers_probe" && error?.remedy?.contains("modprobe vfio-pci") == true)
    scene.expectUntouched()
  }

  @Test func allGoBackWhenTheLastFails() throws {
    // A function whose probe attribute is answered by nobody: its override cannot even be written.
    try scene.tree.addFunction("0000:00:05.0", classCode: "0xff0000", group: 4)
    try FileManager.default.removeItem(
      atPath: scene.tree.absolute("\(FakeSysfs.device("0000:00:05.0"))/driver_override"))
    let error = kernelError { () throws(BindingError) in
      try scene.binding.bind([nvme, BindingScene.port0, BindingScene.port1, address("0000:00:05.0")])
    }
    #expect(error?.errno == .noSuchFileOrDirectory)
    #expect(scene.responder.takeLog().filter { $0.hasPrefix("unbind vfio-pci") }.count == 3)
    scene.expectUntouched()
  }

  @Test func keepsTheJournalWhereTheOldDriverIsGone() throws {
    try scene.binding.bind([nvme])
    let driver = scene.tree.absolute("sys/bus/pci/drivers/nvme")
    try FileManager.default.moveItem(atPath: driver, toPath: driver + ".away")
    let error = kernelError { () throws(BindingError) in try scene.binding.restore() }
    #expect(error?.errno == .noSuchFileOrDirectory && error?.remedy?.contains("modprobe nvme") == true)
    #expect(scene.journal == ["\(nvme)"] && scene.driver(nvme) == "vfio-pci")
    try FileManager.default.moveItem(atPath: driver + ".away", toPath: driver)
    try scene.binding.restore()
    scene.expectUntouched()
  }

  @Test func keepsTheJournalWhereTheOldDriverRefuses() throws {
    try scene.binding.bind([nvme])
    scene.responder.refuse(["nvme"])
    let error = kernelError { () throws(BindingError) in
      try scene.binding(settleLimit: .seconds(1)).restore()
    }
    #expect(error?.operation == "drivers_probe" && scene.journal == ["\(nvme)"])
    scene.responder.refuse([])
    try scene.binding.restore()
    scene.expectUntouched()
  }

  @Test func namesWhoHasTheDeviceOpen() throws {
    try scene.binding.bind([nvme])
    try scene.tree.write("qemu\n", to: "proc/4711/comm")
    try scene.tree.link("proc/4711/fd/9", to: "/dev/vfio/1")
    let error = kernelError { () throws(BindingError) in try scene.binding.restore() }
    #expect(error?.errno == .resourceBusy && error?.remedy?.contains("4711 (qemu)") == true)
    #expect(scene.driver(nvme) == "vfio-pci" && scene.journal == ["\(nvme)"])
    try FileManager.default.removeItem(atPath: scene.tree.absolute("proc/4711"))
    try scene.binding.restore()
    scene.expectUntouched()
  }

  @Test func oneProcessAtATime() async throws {
    let binding = scene.binding
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<4 {
        group.addTask {
          try binding.bind([BindingScene.nvme, BindingScene.idle])
          try binding.restore()
        }
      }
      try await group.waitForAll()
    }
    scene.expectUntouched()
  }

  /// With a thread: a task may be kept waiting by other tests for longer than the binding waits for the lock.
  @Test func waitsForWhoHasTheLock() throws {
    try scene.tree.write("", to: "run/swift-vfio/lock")
    let descriptor = try OwnedDescriptor.open(scene.tree.absolute("run/swift-vfio/lock"), for: .read)
    // Shared: only who asks for it alone has to wait.
    #expect(flock(descriptor.rawValue, LOCK_SH | LOCK_NB) == 0)
    let binding = scene.binding
    let nvme = nvme
    let failure = Mutex<(any Error)?>(nil)
    let other = try OwnedThread {
      do { try binding.bind([nvme]) } catch { failure.withLock { $0 = error } }
    }
    usleep(150_000)
    #expect(scene.driver(nvme) == "nvme" && scene.journal == [] && scene.responder.takeLog() == [])
    try descriptor.close()
    _ = consume other
    if let error = failure.withLock({ $0 }) { throw error }
    #expect(scene.driver(nvme) == "vfio-pci")
  }

  @Test func tellsThatRootIsNeeded() throws {
    let error = KernelError(operation: "open", errno: .permissionDenied, subject: "x")
    guard geteuid() != 0 else { return }
    try FileManager.default.setAttributes(
      [.posixPermissions: 0o500], ofItemAtPath: scene.tree.absolute("run"))
    let thrown = kernelError { () throws(BindingError) in try scene.binding.bind([nvme]) }
    #expect(thrown?.errno == error.errno && thrown?.remedy?.contains("root") == true)
  }
}

@Suite struct BindingRecordTests {
  @Test(arguments: [
    BindingRecord(
      address: address("0000:00:02.0"), bootID: "b", previousDriver: "nvme", previousOverride: nil,
      target: "vfio-pci"),
    BindingRecord(
      address: address("10000:00:02.7"), bootID: "b", previousDriver: nil, previousOverride: "x y",
      target: nil),
    BindingRecord(
      address: address("0000:00:02.0"), bootID: "b", previousDriver: nil, previousOverride: nil, target: nil),
  ]) func survivesTheDisk(_ record: BindingRecord) {
    #expect(BindingRecord(record.description) == record)
    // No part of a record is a record.
    for length in 0..<record.description.count {
      #expect(BindingRecord(String(record.description.prefix(length))) == nil)
    }
  }

  @Test(arguments: [
    "", "swift-vfio binding 2\nfunction 0000:00:02.0\nboot b\nend\n", "swift-vfio binding 1\nboot b\nend\n",
    "swift-vfio binding 1\nfunction 0000:00:02.0\nend\n", "swift-vfio binding 1\nfunction x\nboot b\nend\n",
    "swift-vfio binding 1\nfunction 0000:00:02.0\nboot b\nboot c\nend\n",
    "swift-vfio binding 1\nfunction 0000:00:02.0\nboot b\ndriver \nend\n", "end\n",
  ]) func isReadWholeOrNotAtAll(_ text: String) { #expect(BindingRecord(text) == nil) }
}

@Suite struct DeviceHoldersTests {
  @Test func findsThisProcess() throws {
    let tree = try FakeSysfs()
    try tree.write("", to: "held")
    let descriptor = try OwnedDescriptor.open(tree.absolute("held"), for: .read)
    let holders = DeviceHolders.processes(holding: tree.absolute("held"))
    #expect(holders.map(\.processID) == [Int(getpid())])
    try descriptor.close()
    #expect(DeviceHolders.processes(holding: tree.absolute("held")).isEmpty)
  }
}
