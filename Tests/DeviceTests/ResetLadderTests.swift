// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import DriverCore
import IOMMUFD
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  @Suite struct ResetLadderTests {
    /// igb is alone below its root port: the bus is its owner's.
    @Test(arguments: LabFunction.modes)
    func aBusOfOnesOwnIsReset(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.igb, mode)
      let info = try device.hotResetInfo()
      let group = try #require(try PCIBus().function(at: LabFunction.igb).iommuGroup)
      #expect(info.functions.map(\.address) == [LabFunction.igb])
      if mode == .iommufd {
        #expect(info.isOwned == true && info.functions.first?.owner == device.iommufdID.map { .device($0) })
      } else {
        #expect(info.isOwned == nil && info.functions.first?.owner == .group(group))
      }
      #expect(info.strangers(owning: [group]).isEmpty)
      try device.setBusMaster(true)
      let window = try device.mapBAR(.bar0)
      window.store(UInt32(0x1234_5678), at: Self.filter)
      #expect(window.load(UInt32.self, at: Self.filter) == 0x1234_5678)
      try device.hotReset()
      #expect(try !device.configuration.isBusMasterEnabled)
      #expect(window.load(UInt32.self, at: Self.filter) != 0x1234_5678, "the device forgot what was written")
    }

    /// RAL(1) of igb: half of a filter for addresses, without meaning of its own.
    private static let filter = 0x5408

    @Test func aRootBusIsNotReset() throws {
      let device = try LabFunction.open(LabFunction.edu, LabFunction.anyMode)
      let question = #expect(throws: KernelError.self) { _ = try device.hotResetInfo() }
      #expect(question?.errno == .operationNotSupportedByDevice && question?.remedy != nil)
      let reset = #expect(throws: KernelError.self) { try device.hotReset() }
      #expect(reset?.errno == .operationNotSupportedByDevice)
    }

    /// The device that has its own reset is reset by that, and is as before if one wants.
    @Test(arguments: LabFunction.modes)
    func theFunctionComesFirst(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.nvme, mode)
      try device.setBusMaster(true)
      let vectors = try device.armInterrupts(.msix, count: 2)
      let window = try device.mapBAR(.bar0)
      let version = window.load(UInt32.self, at: 8)
      let report = try device.resetByAnyMeans(restoring: [.busMaster, .interrupts])
      #expect(report.means == .function && report.steps.map(\.tries) == [1])
      #expect(report.isBusMasterEnabled && report.areWindowsUsable && report.rearmed == .msix)
      #expect(try device.configuration.isBusMasterEnabled)
      #expect(window.load(UInt32.self, at: 8) == version && version != .max)
      let vector = vectors.take(1)
      try vector.trigger()
      #expect(try vector.poll() == 1)
      let again = try device.resetByAnyMeans()
      #expect(!again.isBusMasterEnabled && again.rearmed == nil)
      #expect(try !device.configuration.isBusMasterEnabled)
      #expect("\(again)" == "function reset done; bus master off")
    }

    /// edu has no reset of its own, and sits on a root bus: nothing is changed, and the report says why.
    @Test func whereNothingWorksTheReportSaysWhy() throws {
      let device = try LabFunction.open(LabFunction.edu, .type1v2)
      try device.setBusMaster(true)
      let report = try device.resetByAnyMeans(restoring: [.interrupts])
      #expect(report.means == nil && report.steps.map(\.means) == [.hotReset])
      #expect(report.steps.first?.refusal?.errno == .operationNotSupportedByDevice)
      #expect(report.isBusMasterEnabled)
      #expect(try device.configuration.isBusMasterEnabled)
      #expect("\(report)".contains("not reset"), "\(report)")
    }

    #if DEBUG
      /// Where the function's own reset is refused, the bus is next.
      @Test(arguments: LabFunction.eachInterface)
      func theBusComesSecond(_ mode: VFIOMode) throws {
        let device = try LabFunction.open(LabFunction.igb, mode)
        // The command register is read first.
        let plan = FaultPlan(atCall: 2, .fails(.invalidArgument))
        let report = try FaultPlan.$current.withValue(plan) { try device.resetByAnyMeans() }
        #expect(report.steps.map(\.means) == [.function, .hotReset] && report.means == .hotReset)
        #expect(report.steps.first?.refusal?.operation == "VFIO_DEVICE_RESET")
      }

      /// The patience has an end, and the error tells how often was tried; a hot reset waits as well.
      @Test func aHotResetIsTriedAgain() throws {
        let device = try LabFunction.open(LabFunction.igb, LabFunction.anyMode)
        let plan = FaultPlan(atCall: 1, .fails(.resourceTemporarilyUnavailable))
        try FaultPlan.$current.withValue(plan) { try device.hotReset() }
        #expect(plan.callCount > 2)
        let second = FaultPlan(atCall: 2, .fails(.resourceTemporarilyUnavailable))
        let report = try FaultPlan.$current.withValue(second) { try device.resetByAnyMeans() }
        #expect(report.means == .function && report.steps.map(\.tries) == [2])
        #expect("\(report)".hasPrefix("function reset done after 2 tries"), "\(report)")
      }

      @Test(arguments: LabFunction.eachInterface)
      func everyCallOfAHotResetMayFail(_ mode: VFIOMode) throws {
        let device = try LabFunction.open(LabFunction.igb, mode)
        let swept = try faultSweep(.ioError, concerning: concernsVFIO) { plan in
          do {
            try FaultPlan.$current.withValue(plan) {
              _ = try device.hotResetInfo()
              try device.hotReset()
            }
          } catch let error as KernelError {
            #expect(error.errno == .ioError && plan.wasReached, "\(error)")
          }
        }
        #expect(swept >= 4, "\(swept) calls")
        let ladder = try faultSweep(.ioError, concerning: concernsVFIO) { plan in
          do {
            let report = try FaultPlan.$current.withValue(plan) {
              try device.resetByAnyMeans(restoring: [.busMaster, .interrupts])
            }
            #expect(report.means != nil)
          } catch let error as KernelError {
            #expect(error.errno == .ioError && plan.wasReached, "\(error)")
          }
        }
        #expect(ladder >= 4, "\(ladder) calls")
        try device.close()
      }
    #endif
  }
}
