// SPDX-License-Identifier: Apache-2.0
#if DEBUG
  import DMACore
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
    /// Every kernel call of a device's life fails once; nothing may be left behind.
    @Suite struct FailureTests {
      @Test(arguments: LabFunction.modes)
      func everyCallMayFail(_ mode: VFIOMode) throws {
        try LabFunction.lend(LabFunction.edu)
        let function = try PCIBus().function(at: LabFunction.edu)
        let swept = try faultSweep(.ioError, concerning: concernsVFIO) { plan in
          do {
            try FaultPlan.$current.withValue(plan) { try Self.wholeLife(of: function, mode) }
          } catch let error as KernelError {
            #expect(error.errno == .ioError && plan.wasReached, "\(error)")
          }
        }
        // Whatever failed, the next owner finds the device free.
        try VFIODevice.open(LabFunction.edu, mode: mode).close()
        #expect(swept > 20, "\(swept) calls")
      }

      private static func open(
        _ function: PCIFunctionInfo, _ mode: VFIOMode
      ) throws(KernelError) -> VFIODevice {
        guard mode.usesGroup, let number = function.iommuGroup else {
          return try VFIODevice(function, in: IOAS(in: IOMMUFDContext()))
        }
        return try VFIODevice(function.address, in: VFIOGroup(number, joining: VFIOContainer(mode: mode)))
      }

      private static func wholeLife(of function: PCIFunctionInfo, _ mode: VFIOMode) throws(KernelError) {
        let device = try open(function, mode)
        do {
          let window = try device.mapBAR(.bar0)
          _ = window.load(UInt32.self, at: 0)
          try device.setBusMaster(true)
          let memory = try device.addressSpace.expose(UnsharedMemory(byteCount: 8192), access: .readWrite)
          memory.store(UInt32(1), at: 0)
          let vector = try device.armInterrupts(.msi, count: 1).take(0)
          try vector.trigger()
          _ = try memory.reclaim()
          try vector.close()
        }
        try device.setBusMaster(false)
        try device.close()
      }
    }
  }
#endif
