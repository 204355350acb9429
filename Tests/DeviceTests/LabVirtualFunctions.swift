// SPDX-License-Identifier: Apache-2.0
import LinuxHandles
import PCIBus
import TestSupport
import Testing
import VFIO

/// Virtual functions of igb, with vfio-pci on it and on them, for the time of a suite.
struct LabVirtualFunctions: SuiteTrait, TestScoping {
  let count: Int

  func provideScope(
    for test: Test, testCase: Test.Case?, performing body: @Sendable () async throws -> Void
  ) async throws {
    guard Lab.machine != nil else { return try await body() }
    try LabFunction.lend(LabFunction.igb)
    try Sysfs.write("Y", to: "module/vfio_pci/parameters/enable_sriov")
    let function = SRIOVFunction(LabFunction.igb)
    try function.create(count)
    do {
      try await body()
    } catch {
      try? function.destroy()
      throw error
    }
    try function.destroy()
    try Sysfs.write("N", to: "module/vfio_pci/parameters/enable_sriov")
  }
}

extension SuiteTrait where Self == LabVirtualFunctions {
  /// The suite finds this many virtual functions of igb.
  static func virtualFunctions(_ count: Int) -> Self { LabVirtualFunctions(count: count) }
}

extension LabFunction {
  /// igb's first virtual functions, where there are some.
  static let firstVirtual = address("0000:01:10.0")
  static let secondVirtual = address("0000:01:10.2")
}
