// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import DriverCore
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// Registers that go away while guarded windows of them live: by sleep, and by a hand that unplugs the device.
  ///
  /// A delegated window is a mapped dma-buf on a patched kernel, and asks a broker on others.
  @Suite struct RevocationTests {
    /// VS of an NVMe controller.
    private static let version = Register32(byteOffset: 8, access: .readOnly)

    private static func expectRevoked(_ window: borrowing RegisterWindow, _ register: Register32) {
      #expect(window.read(register) == .max)
      let fault = #expect(throws: DriverError.self) { try window.checkAccesses() }
      #expect(fault?.code == .revoked, "\(fault?.description ?? "")")
    }

    private static func expect(_ value: UInt32, _ window: borrowing RegisterWindow, _ register: Register32) {
      #expect(window.read(register) == value && window.takeFault() == nil)
    }

    /// D3 by the power management capability, and back.
    @Test(arguments: DelegationTests.modes)
    func aSleepingFunctionRevokesAndGivesBack(_ mode: VFIOMode) throws {
      var device = try LabFunction.open(LabFunction.nvme, mode)
      device.guardsWindows = true
      let own = try device.mapBAR(.bar0)
      let delegation = try device.delegate(.bar0, [0..<4096])
      let other = try delegation.grant().window()
      let before = own.read(Self.version)
      #expect(before != .max && before != 0)
      for _ in 0..<2 {
        try device.setPowerState(3)
        Self.expectRevoked(own, Self.version)
        Self.expectRevoked(other, Self.version)
        try device.setPowerState(0)
        Self.expect(before, own, Self.version)
        Self.expect(before, other, Self.version)
      }
    }

    /// Low power by the kernel's own care: a window of the owner is in its way, one of a dma-buf is revoked.
    @Test(arguments: DelegationTests.modes)
    func lowPowerRevokesAndGivesBack(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.nvme, mode)
      let delegation = try device.delegate(.bar0, [0..<4096])
      let window = try delegation.grant().window()
      let before = window.read(Self.version)
      guard DelegationTests.isPatched else {
        let busy = #expect(throws: KernelError.self) { _ = try device.enterLowPower() }
        #expect(busy?.errno == .resourceBusy)
        return
      }
      for _ in 0..<2 {
        let sleep = try device.enterLowPower()
        Self.expectRevoked(window, Self.version)
        Self.expectRevoked(window, Self.version)
        try sleep.exit()
        Self.expect(before, window, Self.version)
      }
    }

    @Test(arguments: LabFunction.eachInterface)
    func anUnpluggedDeviceRevokesForGood(_ mode: VFIOMode) throws {
      let monitor = try LabMonitor()
      let address = try HotSlot.plug("edu", on: monitor)
      let reactor = try EventReactor()
      var device = try LabFunction.open(address, mode)
      device.guardsWindows = true
      let events = device.events
      try device.revokeWhenRemovalIsRequested(after: .milliseconds(300), on: reactor)
      let own = try device.mapBAR(.bar0)
      let delegation = try device.delegate(.bar0, [0..<4096])
      let other = try delegation.grant().window()
      Self.expect(DelegationTests.identity, own, DelegationTests.identification)
      Self.expect(DelegationTests.identity, other, DelegationTests.identification)
      try monitor.unplug("hot")
      #expect(try events.wait(until: Deadline(.seconds(60))) == .removalRequested)
      #expect(try events.wait(until: Deadline(.seconds(60))) == .removed)
      // The event comes when the taking away begins.
      try HotSlot.requireUnplugged(address, on: monitor)
      for _ in 0..<2 {
        Self.expectRevoked(own, DelegationTests.identification)
        Self.expectRevoked(other, DelegationTests.identification)
      }
    }
  }
}

extension VFIODevice {
  /// Writes the power state (D0 to D3hot) to the function's power management capability.
  borrowing func setPowerState(_ number: UInt16) throws {
    let capability = try configuration.capabilities().first { $0.id == .powerManagement }
    let place = try #require(capability).byteOffset + 4
    let status = try configuration.read16(at: place)
    try configuration.write16(status & ~3 | number, at: place)
  }
}
