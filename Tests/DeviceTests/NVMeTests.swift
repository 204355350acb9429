// SPDX-License-Identifier: Apache-2.0
import DMACore
import DriverCore
import LinuxHandles
import NVMeChecks
import NVMeDriver
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// The NVMe driver on QEMU's controller, by container and by iommufd.
  @Suite struct NVMeTests {
    @Test(arguments: NVMeCheck.allCases, LabFunction.eachInterface)
    func onQEMUsController(_ check: NVMeCheck, _ mode: VFIOMode) async throws {
      let device = try LabFunction.open(LabFunction.nvme, mode)
      try await check.run(on: NVMeDriver(device, check.options))
    }

    /// The function is one process's: another gets an error and disturbs nothing.
    @Test(arguments: LabFunction.eachInterface)
    func aSecondProcessIsRefused(_ mode: VFIOMode) async throws {
      let driver = try NVMeDriver(LabFunction.open(LabFunction.nvme, mode))
      await #expect(processExitsWith: .success) {
        for mode in LabFunction.eachInterface {
          let error = #expect(throws: KernelError.self) {
            _ = try VFIODevice.open(LabFunction.nvme, mode: mode)
          }
          #expect(error?.errno == .resourceBusy || error?.errno == .invalidArgument)
        }
      }
      #expect(try driver.controller.namespaceIDs() == [1])
    }

    /// What the driver wrote, the kernel's own driver reads; 1 GiB of it where tests take their time.
    @Test func theKernelReadsWhatWasWritten() throws {
      let byteCount = Lab.isSoak ? 1 << 30 : 16 << 20
      var sum = WordSum()
      do {
        let driver = try NVMeDriver(LabFunction.open(LabFunction.nvme, LabFunction.anyMode))
        sum = try NVMeBulk(driver.controller).write(byteCount: byteCount, seed: 0x5eed)
        #expect(try NVMeBulk(driver.controller).read(byteCount: byteCount) == sum)
        _ = try driver.relinquish()
      }
      let kernels = try NVMeBlockDevice(LabFunction.nvme)
      #expect(try kernels.read(byteCount: byteCount) == sum)
      try kernels.giveBack()
    }

    /// A write of one process is there for the next one, which knows nothing of the first.
    @Test func dataOutliveTheDriver() throws {
      var sums: [WordSum] = []
      for mode in LabFunction.eachInterface {
        let driver = try NVMeDriver(LabFunction.open(LabFunction.nvme, mode))
        let bulk = try NVMeBulk(driver.controller)
        if sums.isEmpty { sums.append(try bulk.write(byteCount: 1 << 20, seed: 7)) }
        sums.append(try bulk.read(byteCount: 1 << 20))
      }
      #expect(Set(sums).count == 1)
    }
  }
}
