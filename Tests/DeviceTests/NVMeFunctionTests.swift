// SPDX-License-Identifier: Apache-2.0
import Foundation
import NVMeChecks
import NVMeDriver
import PCIBus
import Testing
import VFIO

/// The function that the environment names.
private enum NamedFunction {
  static var address: PCIAddress? {
    ProcessInfo.processInfo.environment["SWIFT_VFIO_BDF"].flatMap { PCIAddress($0) }
  }
  /// The serial number of a controller that may be written.
  static var destructive: String? { ProcessInfo.processInfo.environment["SWIFT_VFIO_DESTRUCTIVE"] }
}

/// T3 on a function of this machine: `SWIFT_VFIO_BDF=0000:01:00.0`, bound to vfio-pci.
///
/// What its namespaces have stays as it is, but where `SWIFT_VFIO_DESTRUCTIVE` is the controller's serial number.
@Suite(
  .serialized,
  .enabled(if: NamedFunction.address != nil, "needs an NVMe function's address in SWIFT_VFIO_BDF"))
struct NVMeFunctionTests {
  @Test(arguments: NVMeCheck.allCases)
  func onTheFunction(_ check: NVMeCheck) async throws {
    let address = try #require(NamedFunction.address)
    let driver = try NVMeDriver(VFIODevice.open(address), check.options)
    if check.writes {
      let serialNumber = NamedFunction.destructive
      guard serialNumber == driver.controller.identity.serialNumber else { return }
    }
    try await check.run(on: driver)
  }
}
