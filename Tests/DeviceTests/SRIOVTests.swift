// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// Virtual functions of the real kernel come and go.
  @Suite struct SRIOVTests {
    private let bus = PCIBus()
    private let function = SRIOVFunction(LabFunction.igb)
    private var autoprobe: String {
      get throws { try Sysfs.text("bus/pci/devices/\(LabFunction.igb)/sriov_drivers_autoprobe") }
    }

    /// Under its own driver: the virtual ones have no driver, and can be lent like any other.
    @Test func functionsOfTheKernelsDriverStayFree() throws {
      let binding = DriverBinding()
      try binding.restore([LabFunction.igb])
      #expect(try bus.function(at: LabFunction.igb).driver == "igb" && autoprobe == "1")
      let made = try function.create(2)
      #expect(made == [LabFunction.firstVirtual, LabFunction.secondVirtual])
      #expect(try made.map { try bus.function(at: $0).driver } == [nil, nil], "no driver took them")
      #expect(try autoprobe == "1")
      let device = try LabFunction.open(LabFunction.firstVirtual, LabFunction.anyMode)
      #expect(device.info.isResettable)
      // No token here: the physical function is the kernel's.
      let token = #expect(throws: KernelError.self) {
        try LabFunction.lend(LabFunction.secondVirtual)
        _ = try VFIODevice.open(LabFunction.secondVirtual, mode: LabFunction.anyMode, token: VFToken())
      }
      #expect(token?.errno == .invalidArgument)
      let busy = #expect(throws: BindingError.self) { try function.destroy() }
      #expect(String(describing: busy).contains("open in process"), "\(String(describing: busy))")
      try device.close()
      try function.destroy()
      #expect(try function.virtualFunctions().isEmpty && bus.function(at: LabFunction.igb).driver == "igb")
      #expect(throws: KernelError.self) { try bus.function(at: LabFunction.firstVirtual) }
      #expect(try binding.restore().allSatisfy { $0 != LabFunction.igb })
      #expect(try binding.records().allSatisfy { $0.address.bus != LabFunction.igb.bus })
    }

    /// vfio-pci makes none unless it is told to, and says with what.
    @Test func vfioWantsItsSwitch() throws {
      try LabFunction.lend(LabFunction.igb)
      let error = #expect(throws: BindingError.self) { try function.create(1) }
      guard case .kernel(let refusal) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(refusal.errno == .noSuchFileOrDirectory)
      #expect(refusal.remedy?.contains("/sys/module/vfio_pci/parameters/enable_sriov") == true)
      #expect(try autoprobe == "1" && function.virtualFunctions().isEmpty)
      #expect(throws: BindingError.self) { try SRIOVFunction(LabFunction.edu).create(1) }
      #expect(throws: BindingError.self) { try function.create(8) }
    }

    /// Restoring the physical function takes what was made of it away, also by someone who died.
    @Test func restoringTakesThemAway() throws {
      let binding = DriverBinding()
      try binding.restore([LabFunction.igb])
      try function.create(1)
      #expect(try binding.restore([LabFunction.igb]) == [LabFunction.igb])
      #expect(try function.virtualFunctions().isEmpty && autoprobe == "1")
      #expect(try bus.function(at: LabFunction.igb).driver == "igb")
    }

    #if DEBUG
      /// From the first change on, a killed process leaves what restore knows.
      @Test func aKilledCreationIsRestored() async throws {
        let binding = DriverBinding()
        try binding.restore([LabFunction.igb])
        let all = FaultPlan(atCall: 0)
        try FaultPlan.$current.withValue(all) { _ = try function.create(1) }
        try function.destroy()
        // The last calls, around the changes; the simulated machine is killed at every one.
        for call in stride(from: all.callCount - 30, through: all.callCount, by: 6) {
          await #expect(processExitsWith: .signal(SIGKILL)) { [call = call as Int] in
            try FaultPlan.$current.withValue(FaultPlan(atCall: call, .kills)) {
              _ = try SRIOVFunction(LabFunction.igb).create(1)
            }
          }
          try binding.restore([LabFunction.igb])
          #expect(try function.virtualFunctions().isEmpty && autoprobe == "1", "killed at call \(call)")
          #expect(try bus.function(at: LabFunction.igb).driver == "igb")
          #expect(try binding.records().allSatisfy { $0.address != LabFunction.igb })
        }
      }
    #endif
  }
}
