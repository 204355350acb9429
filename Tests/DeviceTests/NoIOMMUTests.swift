// SPDX-License-Identifier: Apache-2.0
import LinuxHandles
import PCIBus
import TestSupport
import Testing
import VFIO

/// T3 on a machine without an IOMMU: nothing can be opened, and the errors say why.
@Suite(.serialized, .lab("no-iommu"))
struct NoIOMMUTests {
  @Test(arguments: LabFunction.modes)
  func openingSaysThatThereIsNoIOMMU(_ mode: VFIOMode) throws {
    let binding = DriverBinding()
    // vfio-pci takes no function without an IOMMU group, and binding tells that.
    let refused = #expect(throws: BindingError.self) { try binding.bind([LabFunction.edu]) }
    #expect("\(String(describing: refused))".contains("IOMMU"), "\(String(describing: refused))")
    let error = #expect(throws: KernelError.self) { _ = try VFIODevice.open(LabFunction.edu, mode: mode) }
    #expect(error?.subject.contains("\(LabFunction.edu)") == true)
    #expect(try PCIBus().function(at: LabFunction.edu).driver == nil, "as it was before")
  }

  @Test func functionsHaveNoGroups() throws {
    let functions = try PCIBus().functions()
    #expect(functions.count > 4 && functions.allSatisfy { $0.iommuGroup == nil })
  }
}
