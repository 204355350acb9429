// SPDX-License-Identifier: Apache-2.0
import DriverCore
import IOMMUFD
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// Who opens a virtual function must know the token of the physical one.
  @Suite(.virtualFunctions(2)) struct TokenTests {
    /// A token by its place in a test, or none.
    enum Choice: String, CaseIterable { case first, second, none }

    private static func token(_ choice: Choice) -> VFToken? {
      switch choice {
      case .first: VFToken("52ac9bff-3a88-4fbd-901a-0d767c3b6c97")
      case .second: VFToken("88594674-90a0-47a9-aea8-9d9b352ac08a")
      case .none: nil
      }
    }

    /// Opens the virtual function and closes it again: exactly with the right token.
    private func expectVirtual(
      _ mode: VFIOMode, opensWith choice: Choice, wanting right: Choice,
      sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
      func open() throws -> UInt16 {
        let virtual = try VFIODevice.open(LabFunction.firstVirtual, mode: mode, token: Self.token(choice))
        let isOff = try !virtual.configuration.isBusMasterEnabled
        #expect(isOff, sourceLocation: sourceLocation)
        let vendor = try virtual.configuration.vendorID
        try virtual.close()
        return vendor
      }
      if choice == right {
        #expect(try open() == 0x8086, sourceLocation: sourceLocation)
      } else {
        let error = #expect(throws: KernelError.self, sourceLocation: sourceLocation) { _ = try open() }
        #expect(error?.errno == .permissionDenied, sourceLocation: sourceLocation)
        #expect(error?.remedy?.contains("token") == true, sourceLocation: sourceLocation)
      }
    }

    @Test(arguments: LabFunction.modes, Choice.allCases)
    func initTokenMatch(_ mode: VFIOMode, _ choice: Choice) throws {
      let physical = try VFIODevice.open(LabFunction.igb, mode: mode, token: Self.token(.first))
      try expectVirtual(mode, opensWith: choice, wanting: .first)
      try physical.close()
    }

    @Test(arguments: LabFunction.modes, Choice.allCases)
    func physicalFunctionClosesEarly(_ mode: VFIOMode, _ choice: Choice) throws {
      try VFIODevice.open(LabFunction.igb, mode: mode, token: Self.token(.first)).close()
      try expectVirtual(mode, opensWith: choice, wanting: .first)
    }

    @Test(arguments: LabFunction.modes, Choice.allCases)
    func overrideToken(_ mode: VFIOMode, _ choice: Choice) throws {
      let physical = try VFIODevice.open(LabFunction.igb, mode: mode, token: Self.token(.first))
      let second = try #require(Self.token(.second))
      try physical.setVFToken(second)
      try expectVirtual(mode, opensWith: choice, wanting: .second)
      try physical.close()
    }

    /// A physical function whose virtual ones are open wants the token as well.
    @Test(arguments: LabFunction.modes)
    func usersOfVirtualFunctionsAreProtected(_ mode: VFIOMode) throws {
      try VFIODevice.open(LabFunction.igb, mode: mode, token: Self.token(.first)).close()
      let virtual = try VFIODevice.open(LabFunction.firstVirtual, mode: mode, token: Self.token(.first))
      for choice in [Choice.second, .none] {
        let error = #expect(throws: KernelError.self) {
          _ = try VFIODevice.open(LabFunction.igb, mode: mode, token: Self.token(choice))
        }
        #expect(error?.errno == .permissionDenied)
      }
      try VFIODevice.open(LabFunction.igb, mode: mode, token: Self.token(.first)).close()
      try virtual.close()
    }

    @Test(arguments: LabFunction.modes)
    func aTokenThatIsNotUsedIsRefused(_ mode: VFIOMode) throws {
      try LabFunction.lend(LabFunction.edu)
      let error = #expect(throws: KernelError.self) {
        _ = try VFIODevice.open(LabFunction.edu, mode: mode, token: Self.token(.first))
      }
      #expect(error?.errno == .invalidArgument && error?.remedy?.contains("none is used") == true)
      let device = try LabFunction.open(LabFunction.edu, mode)
      let none = #expect(throws: KernelError.self) { try device.setVFToken(VFToken()) }
      #expect(none?.errno == .inappropriateIOCTLForDevice && none?.remedy?.contains("VF token") == true)
    }

    /// The bus of igb has its virtual functions too: the kernel resets none that has some, whoever owns them.
    @Test(arguments: LabFunction.modes)
    func aBusWithVirtualFunctionsIsNotReset(_ mode: VFIOMode) throws {
      let token = Self.token(.first)
      let bus = PCIBus()
      let functions = try [LabFunction.igb, LabFunction.firstVirtual, LabFunction.secondVirtual].map {
        try bus.function(at: $0)
      }
      let numbers = try functions.map { try #require($0.iommuGroup) }
      func expectRefusal(_ device: borrowing VFIODevice, owning groups: [VFIOGroup] = []) {
        var refused: KernelError?
        do throws(KernelError) { try device.hotReset(owning: groups) } catch { refused = error }
        #expect(refused?.errno == .invalidArgument && refused?.operation == "VFIO_DEVICE_PCI_HOT_RESET")
        let remedy = refused?.remedy ?? ""
        #expect(remedy.contains("virtual functions (0000:01:10.0, 0000:01:10.2)"), "\(remedy)")
      }
      if mode == .iommufd {
        let space = try IOAS(in: IOMMUFDContext())
        let physical = try VFIODevice(functions[0], in: space, token: token)
        let first = try VFIODevice(functions[1], in: space, token: token)
        let info = try physical.hotResetInfo()
        #expect(info.functions.map(\.address) == functions.map(\.address) && info.isOwned == false)
        #expect(info.strangers(owning: []).map(\.address) == functions.dropFirst().map(\.address))
        expectRefusal(physical)
        try first.close()
        #expect(try physical.resetByAnyMeans().means == .function, "its own reset touches no other")
      } else {
        let container = try VFIOContainer(mode: mode)
        let groups = try numbers.map { try VFIOGroup($0, joining: container) }
        let physical = try VFIODevice(LabFunction.igb, in: groups[0], token: token)
        let info = try physical.hotResetInfo()
        #expect(info.functions.map(\.owner) == numbers.map { .group($0) } && info.isOwned == nil)
        #expect(info.strangers(owning: [numbers[0], numbers[1]]).map(\.address) == [functions[2].address])
        expectRefusal(physical)
        expectRefusal(physical, owning: groups)
        #expect(try physical.resetByAnyMeans(owning: groups).means == .function)
      }
    }

    #if DEBUG
      /// A refusal with the token is the last word: nothing is tried without it.
      @Test(arguments: LabFunction.eachInterface)
      func everyCallMayFail(_ mode: VFIOMode) throws {
        let swept = try faultSweep(.permissionDenied, concerning: concernsVFIO) { plan in
          do {
            try FaultPlan.$current.withValue(plan) {
              let physical = try VFIODevice.open(LabFunction.igb, mode: mode, token: Self.token(.second))
              try physical.setVFToken(VFToken())
              try physical.close()
            }
          } catch let error as KernelError {
            #expect(error.errno == .permissionDenied && plan.wasReached, "\(error)")
          }
        }
        #expect(swept > 20, "\(swept) calls")
      }
    #endif
  }
}
