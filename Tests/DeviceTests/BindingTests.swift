// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// Real drivers come and go; the machine is as it was afterwards.
  @Suite struct BindingTests {
    private let bus = PCIBus()
    private let binding = DriverBinding()

    private func driver(_ address: PCIAddress) throws -> String? { try bus.function(at: address).driver }

    /// Gives a function to its kernel driver first, whatever earlier tests did with it.
    private func reset(_ address: PCIAddress) throws { try binding.restore([address]) }

    @Test(arguments: [(LabFunction.nvme, "nvme"), (LabFunction.igb, "igb"), (LabFunction.testDevice, nil)])
    func bindAndRestoreLeadBack(_ address: PCIAddress, _ before: String?) throws {
      try reset(address)
      #expect(try driver(address) == before)
      try binding.bind([address])
      let bound = try bus.function(at: address)
      #expect(bound.driver == "vfio-pci" && bound.driverOverride == "vfio-pci" && bound.vfioDeviceName != nil)
      #expect(try binding.restore([address]) == [address])
      #expect(try driver(address) == before)
      #expect(try bus.function(at: address).driverOverride == nil)
      #expect(try binding.restore([address]).isEmpty, "a second restore has nothing to do")
    }

    @Test func anNVMeDriveComesBackWithItsDisk() throws {
      try reset(LabFunction.nvme)
      #expect(FileManager.default.fileExists(atPath: "/dev/nvme0n1"))
      try binding.bind([LabFunction.nvme])
      #expect(!FileManager.default.fileExists(atPath: "/dev/nvme0n1"))
      try binding.restore()
      let end = ContinuousClock.now + .seconds(10)
      while !FileManager.default.fileExists(atPath: "/dev/nvme0n1"), ContinuousClock.now < end {
        usleep(10_000)
      }
      #expect(FileManager.default.fileExists(atPath: "/dev/nvme0n1"))
    }

    private func refusal(_ address: PCIAddress, force: Bool = false) -> BindingRefusal? {
      do throws(BindingError) {
        try binding.bind([address], force: force)
        return nil
      } catch {
        guard case .refused(let refusal) = error else {
          Issue.record("\(error)")
          return nil
        }
        return refusal
      }
    }

    @Test func bridgesAreRefused() {
      #expect(refusal(LabFunction.rootPort)?.reason == .bridge)
      #expect(refusal(LabFunction.rootPort, force: true)?.reason == .bridge)
    }

    @Test func aMountedDiskIsRefusedEvenWithForce() throws {
      try reset(LabFunction.nvme)
      let folder = NSTemporaryDirectory() + "mounted"
      try run("/lab/bin/mke2fs", "/dev/nvme0n1")
      try run("/lab/bin/mkdir", "-p", folder)
      try run("/lab/bin/mount", "-t", "ext4", "/dev/nvme0n1", folder)
      defer { _ = try? run("/lab/bin/umount", folder) }
      let found = refusal(LabFunction.nvme, force: true)
      #expect(
        found?.reason == .mounted && found?.detail.contains(folder) == true, "\(found?.description ?? "none")"
      )
      #expect(try driver(LabFunction.nvme) == "nvme")
    }

    @Test func aSwappedOnDiskIsRefused() throws {
      try reset(LabFunction.nvme)
      try run("/lab/bin/mkswap", "/dev/nvme0n1")
      try run("/lab/bin/swapon", "/dev/nvme0n1")
      defer { _ = try? run("/lab/bin/swapoff", "/dev/nvme0n1") }
      #expect(refusal(LabFunction.nvme, force: true)?.reason == .swap)
    }

    @Test func anInterfaceWithAnAddressIsRefusedUnlessForced() throws {
      try reset(LabFunction.igb)
      let names = try FileManager.default.contentsOfDirectory(
        atPath: "/sys/bus/pci/devices/\(LabFunction.igb)/net")
      let interface = try #require(names.first)
      try run("/lab/bin/ifconfig", interface, "192.0.2.1", "up")
      let found = refusal(LabFunction.igb)
      #expect(
        found?.reason == .network && found?.detail.contains(interface) == true,
        "\(found?.description ?? "none")")
      #expect(try driver(LabFunction.igb) == "igb")
      #expect(refusal(LabFunction.igb, force: true) == nil)
      #expect(try driver(LabFunction.igb) == "vfio-pci")
      try binding.restore()
      #expect(try driver(LabFunction.igb) == "igb")
    }

    @Test func aGroupMemberOfAnotherDriverIsNamed() throws {
      try reset(LabFunction.eduInSharedGroup)
      let found = refusal(LabFunction.eduInSharedGroup)
      #expect(
        found?.reason == .group && found?.detail.contains("virtio-pci") == true,
        "\(found?.description ?? "none")")
      let both = [LabFunction.eduInSharedGroup, LabFunction.networkInSharedGroup]
      try binding.bind(both)
      let device = try VFIODevice.open(LabFunction.eduInSharedGroup, mode: .type1v2)
      try device.close()
      #expect(try Set(binding.restore(both)) == Set(both))
      #expect(try driver(LabFunction.networkInSharedGroup) == "virtio-pci")
    }

    @Test func aDeviceInUseIsNotTakenAway() throws {
      let device = try LabFunction.open(LabFunction.secondEdu, .type1v2)
      let error = #expect(throws: BindingError.self) { try binding.restore([LabFunction.secondEdu]) }
      guard case .kernel(let busy) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(busy.errno == .resourceBusy && "\(busy)".contains("\(getpid())"), "\(busy)")
      #expect(try driver(LabFunction.secondEdu) == "vfio-pci")
      #expect(try device.configuration.vendorID == 0x1234, "the owner is not disturbed")
      try device.close()
      #expect(try binding.restore([LabFunction.secondEdu]) == [LabFunction.secondEdu])
    }

    /// A user without rights is told which node it may not open, and the machine stays as it was.
    @Test func withoutRightsTheNodeIsNamed() throws {
      try LabFunction.lend(LabFunction.edu)
      let folder = NSTemporaryDirectory()
      try "root:x:0:0::/:/lab/bin/sh\nsomebody:x:1000:1000::/:/lab/bin/sh\n".write(
        toFile: "/etc/passwd", atomically: false, encoding: .utf8)
      for (mode, node) in [("iommufd", "/dev/iommu"), ("type1v2", "/dev/vfio/")] {
        let log = "\(folder)/\(mode).log"
        let status = try run(
          "/lab/bin/su", "somebody", "-c",
          "\(Lab.vfioctl) smoke \(LabFunction.edu) --mode \(mode) >\(log) 2>&1",
          mayFail: true)
        let text = try String(contentsOfFile: log, encoding: .utf8)
        #expect(status == 1, "\(text)")
        #expect(text.contains("open on \(node)") && text.contains("Permission denied"), "\(text)")
        #expect(text.contains("run as root, or give your user this node"), "\(text)")
      }
      #expect(try driver(LabFunction.edu) == "vfio-pci")
    }

    #if DEBUG
      /// `kill -9` of the program itself at every kernel call of a bind, from the last question before the
      /// first change on, on a real driver.
      @Test func aKilledBindIsRestored() throws {
        try reset(LabFunction.igb)
        let all = FaultPlan(atCall: 0)
        try FaultPlan.$current.withValue(all) { try binding.bind([LabFunction.igb]) }
        try reset(LabFunction.igb)
        let questions = FaultPlan(atCall: 0)
        try FaultPlan.$current.withValue(questions) {
          _ = try BindingGuard().refusals(of: [bus.function(at: LabFunction.igb)], target: "vfio-pci")
        }
        #expect(
          all.callCount - questions.callCount > 20, "\(questions.callCount) of \(all.callCount) calls ask")
        var wasBound = false
        for call in questions.callCount...all.callCount {
          let status = try run(
            Lab.vfioctl, "bind", "\(LabFunction.igb)", environment: ["SWIFT_VFIO_KILL_AT": "\(call)"],
            mayFail: true)
          #expect(status == 9 || status == 0, "killed at call \(call): status \(status)")
          wasBound = try wasBound || driver(LabFunction.igb) == "vfio-pci"
          try binding.restore()
          #expect(try driver(LabFunction.igb) == "igb", "killed at call \(call)")
          #expect(try bus.function(at: LabFunction.igb).driverOverride == nil, "killed at call \(call)")
        }
        #expect(wasBound, "some were killed after the change")
      }
    #endif

    @discardableResult
    private func run(
      _ program: String, _ arguments: String..., environment: [String: String] = [:], mayFail: Bool = false
    ) throws -> Int32 {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: program)
      process.arguments = arguments
      process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
      process.standardOutput = FileHandle.nullDevice
      try process.run()
      process.waitUntilExit()
      if !mayFail {
        try #require(process.terminationStatus == 0, "\(program) \(arguments)")
      }
      return process.terminationStatus
    }
  }
}
