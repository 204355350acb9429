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

    @Test(arguments: VFIOMode.allCases, Choice.allCases)
    func initTokenMatch(_ mode: VFIOMode, _ choice: Choice) throws {
      let physical = try VFIODevice.open(LabFunction.igb, mode: mode, token: Self.token(.first))
      try expectVirtual(mode, opensWith: choice, wanting: .first)
      try physical.close()
    }

    @Test(arguments: VFIOMode.allCases, Choice.allCases)
    func physicalFunctionClosesEarly(_ mode: VFIOMode, _ choice: Choice) throws {
      try VFIODevice.open(LabFunction.igb, mode: mode, token: Self.token(.first)).close()
      try expectVirtual(mode, opensWith: choice, wanting: .first)
    }

    @Test(arguments: VFIOMode.allCases, Choice.allCases)
    func overrideToken(_ mode: VFIOMode, _ choice: Choice) throws {
      let physical = try VFIODevice.open(LabFunction.igb, mode: mode, token: Self.token(.first))
      let second = try #require(Self.token(.second))
      try physical.setVFToken(second)
      try expectVirtual(mode, opensWith: choice, wanting: .second)
      try physical.close()
    }

    /// A physical function whose virtual ones are open wants the token as well.
    @Test(arguments: VFIOMode.allCases)
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

    @Test(arguments: VFIOMode.allCases)
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

    /// The bus of igb has its virtual functions too: they must be shown to be the caller's.
    @Test(arguments: VFIOMode.allCases)
    func aHotResetWantsEveryFunction(_ mode: VFIOMode) throws {
      let physical = try VFIODevice.open(LabFunction.igb, mode: mode, token: Self.token(.first))
      let info = try physical.hotResetInfo()
      let virtual = [LabFunction.firstVirtual, LabFunction.secondVirtual]
      #expect(info.functions.map(\.address) == [LabFunction.igb] + virtual)
      #expect(info.isOwned == (mode == .iommufd ? false : nil))
      let refused = #expect(throws: KernelError.self) { try physical.hotReset() }
      #expect(refused?.errno == .invalidArgument)
      #expect(refused?.remedy?.contains("\(LabFunction.firstVirtual) (vfio-pci)") == true, "\(String(describing: refused))")
      let report = try physical.resetByAnyMeans()
      #expect(report.means == .function, "the function's own reset touches no other")
      try physical.close()
    }

    /// With their groups in hand, or in one iommufd, the bus may be reset.
    @Test(arguments: VFIOMode.allCases)
    func aHotResetOfAllThatOneOwnsWorks(_ mode: VFIOMode) throws {
      let token = Self.token(.first)
      let bus = PCIBus()
      let functions = try [LabFunction.igb, LabFunction.firstVirtual, LabFunction.secondVirtual].map {
        try bus.function(at: $0)
      }
      if mode == .iommufd {
        let space = try IOAS(in: IOMMUFDContext())
        let physical = try VFIODevice(functions[0], in: space, token: token)
        let first = try VFIODevice(functions[1], in: space, token: token)
        #expect(try physical.hotResetInfo().isOwned == false)
        let second = try VFIODevice(functions[2], in: space, token: token)
        #expect(try physical.hotResetInfo().isOwned == true)
        try physical.hotReset()
        #expect(try [physical.configuration.vendorID, second.configuration.vendorID] == [0x8086, 0x8086])
        #expect(try first.configuration.vendorID == 0x8086)
      } else {
        let container = try VFIOContainer(mode: mode)
        let groups = try functions.map { try VFIOGroup($0.iommuGroup ?? -1, joining: container) }
        let physical = try VFIODevice(LabFunction.igb, in: groups[0], token: token)
        let partly = #expect(throws: KernelError.self) { try physical.hotReset(owning: [groups[1]]) }
        #expect(partly?.remedy?.contains("\(LabFunction.secondVirtual)") == true)
        #expect(partly?.remedy?.contains("\(LabFunction.firstVirtual) ") == false)
        try physical.hotReset(owning: groups)
        #expect(try physical.configuration.vendorID == 0x8086)
      }
    }

    #if DEBUG
      /// A refusal with the token is the last word: nothing is tried without it.
      @Test(arguments: VFIOMode.allCases)
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
