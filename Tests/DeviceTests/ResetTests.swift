// SPDX-License-Identifier: Apache-2.0
import DriverCore
import LinuxHandles
import PCIBus
import SmokeChecks
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  @Suite struct ResetTests {
    @Test(arguments: LabFunction.modes)
    func aResetForbidsDMAAgain(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.nvme, mode)
      #expect(device.resources.isResettable)
      try device.setBusMaster(true)
      try device.reset()
      #expect(try !device.configuration.isBusMasterEnabled)
      let vector = try device.armInterrupts(.msix, count: 1).take(0)
      try vector.trigger()
      #expect(try vector.poll() == 1)
    }

    #if DEBUG
      /// The kernel says EAGAIN while another thread holds the device's lock: the reset is tried again.
      @Test func aResetIsTriedAgain() throws {
        let device = try LabFunction.open(LabFunction.nvme, LabFunction.anyMode)
        let plan = FaultPlan(atCall: 1, .fails(.resourceTemporarilyUnavailable))
        try FaultPlan.$current.withValue(plan) { try device.reset() }
        #expect(plan.callCount > 2)
      }
    #endif

    @Test func aFunctionWithoutResetSaysSo() throws {
      let device = try LabFunction.open(LabFunction.edu, .type1v2)
      #expect(!device.resources.isResettable)
      let error = #expect(throws: KernelError.self) { try device.reset() }
      #expect(error?.errno == .invalidArgument && error?.remedy != nil)
    }
  }

  /// The smoke checks of every function, in every mode: the same as `vfioctl smoke --mode all`.
  @Suite struct SmokeTests {
    @Test(
      arguments: LabFunction.modes,
      [LabFunction.edu, LabFunction.testDevice, LabFunction.nvme, LabFunction.igb])
    func nothingFails(_ mode: VFIOMode, on address: PCIAddress) throws {
      let device = try LabFunction.open(address, mode)
      let facts = try PCIBus().function(at: address)
      let report = SmokeReport(
        checking: device,
        expecting: ExpectedIdentity(
          vendorID: facts.vendorID, deviceID: facts.deviceID, classCode: facts.classCode.rawValue,
          revision: facts.revision), patience: .seconds(5))
      #expect(report.isGood, "\(report)")
    }
  }
}
