// SPDX-License-Identifier: Apache-2.0
import DeviceSimulation
import DriverCore
import NVMeChecks
import NVMeDriver
import Testing

/// The NVMe driver on the simulated controller, as on every other one.
@Suite struct NVMeDriverTests {
  @Test(arguments: NVMeCheck.allCases)
  func onTheModel(_ check: NVMeCheck) async throws {
    let stand = try NVMeModelStand()
    try await check.run(on: stand.driver(check.options))
    #expect(stand.space.takeFaults().isEmpty, "the controller reaches what it was given")
  }

  /// The same on a controller that takes its time and does not keep an order.
  @Test(arguments: NVMeCheck.allCases)
  func onASlowModel(_ check: NVMeCheck) async throws {
    let stand = try NVMeModelStand.slow(NVMeModelStand.usualOptions)
    try await check.run(on: stand.driver(check.options))
    #expect(stand.space.takeFaults().isEmpty)
  }
}
