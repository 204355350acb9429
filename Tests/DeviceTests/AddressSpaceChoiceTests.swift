// SPDX-License-Identifier: Apache-2.0
import DMACore
import EduDriver
import LinuxHandles
import PCIBus
import SwiftVFIO
import SystemPackage
import Testing
import VFIO

extension DeviceTests {
  /// Which address space a driver of a real function is given.
  @Suite struct AddressSpaceChoiceTests {
    @Test(arguments: [AddressSpaceChoice.Source?.none, .iommufd, .container])
    func theDriverRunsInIt(_ source: AddressSpaceChoice.Source?) throws {
      try LabFunction.lend(LabFunction.edu)
      let choice = try AddressSpaceChoice.make(for: .function(LabFunction.edu), forcing: source)
      #expect(choice.source == source ?? .iommufd)
      #expect(choice.isBehindIOMMU && choice.refusals.isEmpty)
      let device = try choice.open(LabFunction.edu)
      #expect(device.mode == (choice.source == .iommufd ? .iommufd : .type1v2))
      #expect(device.addressSpace === choice.space)
      let driver = try EduDriver(device)
      let pattern = [UInt8](repeating: 0x5a, count: 100)
      try unsafe driver.copyToDevice(pattern.span.bytes)
      #expect(choice.space.exposures.count == 1)
      _ = try driver.relinquish()
    }

    @Test func bounceMemoryIsRefused() throws {
      try LabFunction.lend(LabFunction.edu)
      do throws(KernelError) {
        _ = try AddressSpaceChoice.make(for: .function(LabFunction.edu), forcing: .bounce)
        Issue.record("bounce memory for a real function")
      } catch {
        #expect(error.errno == .operationNotSupportedByDevice)
      }
    }
  }
}
