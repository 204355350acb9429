// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import DriverCore
import Foundation
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  @Suite struct LowPowerTests {
    private func status() throws -> String {
      try TextFile.contents(of: "/sys/bus/pci/devices/\(LabFunction.nvme)/power/runtime_status")
        .trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// The kernel's work queue puts the device to sleep, a moment later.
    private func waitUntil(_ wanted: String) throws {
      let end = ContinuousClock.now + .seconds(5)
      while try status() != wanted, ContinuousClock.now < end { usleep(1000) }
      #expect(try status() == wanted)
    }

    @Test(arguments: LabFunction.modes)
    func aDeviceSleepsAndWakes(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.nvme, mode)
      #expect(try status() == "active")
      let sleep = try device.enterLowPower()
      try waitUntil("suspended")
      // Asking it something wakes it for the time of the call.
      #expect(try device.configuration.vendorID == 0x1b36)
      try waitUntil("suspended")
      #expect(try !sleep.waitForWakeup(for: .zero), "without a signal there is none")
      try sleep.exit()
      #expect(try status() == "active")
      let window = try device.mapBAR(.bar0)
      #expect(window.load(UInt32.self, at: 8) != .max)
    }

    /// Sleep and windows exclude each other: an access to a sleeping device would end the process.
    @Test func windowsAndSleepExcludeEachOther() throws {
      let device = try LabFunction.open(LabFunction.nvme, LabFunction.anyMode)
      do {
        let window = try device.mapBAR(.bar0)
        let refused = #expect(throws: KernelError.self) { _ = try device.enterLowPower() }
        #expect(refused?.errno == .resourceBusy && refused?.remedy?.contains("1 register window") == true)
        #expect(window.load(UInt32.self, at: 8) != .max)
      }
      try device.whileInLowPower { () throws(KernelError) in
        for index in [PCIBAR.Index.bar0, .bar2] {
          let refused = #expect(throws: KernelError.self) { _ = try device.mapBAR(index) }
          #expect(refused?.errno == .resourceBusy && refused?.remedy?.contains("low power") == true)
        }
        let twice = #expect(throws: KernelError.self) { _ = try device.enterLowPower() }
        #expect(twice?.errno == .resourceBusy)
      }
      _ = try device.mapBAR(.bar0)
      do {
        _ = try device.enterLowPower()
      }
      #expect(try status() == "active", "dropping it wakes the device")
      _ = try device.mapBAR(.bar0)
      try device.close()
    }

    /// Whoever wakes the device from outside is noticed.
    @Test(arguments: LabFunction.eachInterface)
    func aWakeupIsSignalled(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.nvme, mode)
      let control = "/sys/bus/pci/devices/\(LabFunction.nvme)/power/control"
      defer { try? "auto".write(toFile: control, atomically: false, encoding: .utf8) }
      let sleep = try device.enterLowPower(signalsWakeup: true)
      try waitUntil("suspended")
      #expect(try !sleep.waitForWakeup(for: .milliseconds(20)))
      try "on".write(toFile: control, atomically: false, encoding: .utf8)
      #expect(try sleep.waitForWakeup(for: .seconds(2)))
      #expect(try status() == "active")
      try sleep.exit()
    }

    #if DEBUG
      @Test func everyCallMayFail() throws {
        let device = try LabFunction.open(LabFunction.nvme, LabFunction.anyMode)
        let swept = try faultSweep(.ioError, concerning: concernsVFIO) { plan in
          do {
            try FaultPlan.$current.withValue(plan) {
              try device.enterLowPower().exit()
              let sleep = try device.enterLowPower(signalsWakeup: true)
              _ = try sleep.waitForWakeup(for: .zero)
              try sleep.exit()
            }
          } catch let error as KernelError {
            #expect(error.errno == .ioError && plan.wasReached, "\(error)")
          }
          _ = try device.mapBAR(.bar0)
        }
        #expect(swept == 6, "\(swept) calls")
        #expect(try status() == "active")
      }
    #endif
  }
}
