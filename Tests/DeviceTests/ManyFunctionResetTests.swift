// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import DriverCore
import IOMMUFD
import LinuxHandles
import PCIBus
import SystemPackage
import Testing
import VFIO

extension ManyFunctionTests {
  /// Hot resets of slots with two functions, and who must own them.
  @Suite struct ManyFunctionResetTests {
    /// RAL(1) of igb: half of a filter for addresses, without meaning of its own.
    private static let filter = Register32(byteOffset: 0x5408, access: .readWrite)
    private static let mark: UInt32 = 0x1234_5678

    private static func group(of address: PCIAddress) throws -> Int {
      try #require(try PCIBus().function(at: address).iommuGroup)
    }

    /// Resets through the first device, and checks that both were reset and both kept their vectors.
    private static func checkReset(
      _ first: borrowing VFIODevice, _ second: borrowing VFIODevice, owning groups: [VFIOGroup]
    ) throws {
      let window = try first.mapBAR(.bar0)
      let other = try second.mapBAR(.bar0)
      window.write(mark, to: filter)
      other.write(mark, to: filter)
      let vector = try second.armInterrupts(.msix, count: 1).take(0)
      try second.setBusMaster(true)
      try first.hotReset(owning: groups)
      let after = (window.read(filter), other.read(filter))
      #expect(after.0 != mark && after.1 != mark && window.takeFault() == nil)
      // The other one is as the kernel leaves it: its bus master, and its vectors.
      #expect(try !first.configuration.isBusMasterEnabled)
      #expect(try second.configuration.isBusMasterEnabled)
      let causes = NetworkCauses(other, .igb)
      causes.raise()
      #expect(try vector.wait(until: Deadline(.seconds(10))) == 1)
    }

    private static func expectRefusal(_ device: borrowing VFIODevice, naming names: [String]) {
      let refusal = #expect(throws: KernelError.self) { try device.hotReset() }
      #expect(refusal?.operation == "VFIO_DEVICE_PCI_HOT_RESET" && refusal?.errno == .invalidArgument)
      for name in names { #expect(refusal?.remedy?.contains(name) == true, "\(refusal as Any)") }
    }

    @Test(arguments: LabFunction.modes.filter(\.usesGroup))
    func groupsAreTheProof(_ mode: VFIOMode) throws {
      for address in [ManyFunction.igb, ManyFunction.secondIGB] { try LabFunction.lend(address) }
      let container = try VFIOContainer(mode: mode)
      let numbers = try (Self.group(of: ManyFunction.igb), Self.group(of: ManyFunction.secondIGB))
      #expect(numbers.0 != numbers.1)
      let group = try VFIOGroup(numbers.0, joining: container)
      let device = try VFIODevice(ManyFunction.igb, in: group)
      let info = try device.hotResetInfo()
      #expect(Set(info.functions.map(\.address)) == [ManyFunction.igb, ManyFunction.secondIGB])
      #expect(
        info.isOwned == nil && info.strangers(owning: [numbers.0]).map(\.address) == [ManyFunction.secondIGB])
      Self.expectRefusal(device, naming: ["\(ManyFunction.secondIGB) (vfio-pci)"])
      let other = try VFIOGroup(numbers.1, joining: container)
      let second = try VFIODevice(ManyFunction.secondIGB, in: other)
      // Open, but not given as a proof.
      Self.expectRefusal(device, naming: ["\(ManyFunction.secondIGB) (vfio-pci)"])
      try Self.checkReset(device, second, owning: [other])
    }

    @Test func anIOMMUFDIsTheProof() throws {
      for address in [ManyFunction.igb, ManyFunction.secondIGB] { try LabFunction.lend(address) }
      let bus = PCIBus()
      let ioas = try IOAS(in: IOMMUFDContext())
      let device = try VFIODevice(bus.function(at: ManyFunction.igb), in: ioas)
      let before = try device.hotResetInfo()
      #expect(before.isOwned == false)
      #expect(before.functions.first { $0.address == ManyFunction.secondIGB }?.owner == .other)
      Self.expectRefusal(device, naming: ["\(ManyFunction.secondIGB) (vfio-pci)"])
      do {
        let stranger = try VFIODevice.open(ManyFunction.secondIGB, mode: .iommufd)
        Self.expectRefusal(device, naming: ["\(ManyFunction.secondIGB) (vfio-pci)"])
        try stranger.close()
      }
      let second = try VFIODevice(bus.function(at: ManyFunction.secondIGB), in: ioas)
      let info = try device.hotResetInfo()
      #expect(info.isOwned == true)
      #expect(
        Set(info.functions.map(\.owner))
          == Set([device.iommufdID, second.iommufdID].compactMap { $0.map { .device($0) } }))
      try Self.checkReset(device, second, owning: [])
    }

    /// The other function is the kernel's own driver's.
    @Test(arguments: [VFIOMode.iommufd, .type1v2])
    func aDriverInTheSlotIsNamed(_ mode: VFIOMode) throws {
      _ = try? DriverBinding().restore([ManyFunction.secondIGB])
      let device = try LabFunction.open(ManyFunction.igb, mode)
      Self.expectRefusal(device, naming: ["\(ManyFunction.secondIGB) (igb)"])
    }

    /// One group: whoever has one of its functions has shown the other to be his, if VFIO's driver has it.
    @Test(arguments: LabFunction.modes)
    func aGroupCoversItsFunctions(_ mode: VFIOMode) throws {
      #expect(try Self.group(of: ManyFunction.edu) == Self.group(of: ManyFunction.secondEdu))
      for address in [ManyFunction.edu, ManyFunction.secondEdu] { try LabFunction.lend(address) }
      do {
        let device = try VFIODevice.open(ManyFunction.edu, mode: mode)
        let info = try device.hotResetInfo()
        let owner = info.functions.first { $0.address == ManyFunction.secondEdu }?.owner
        #expect(owner == (mode.usesGroup ? .group(try Self.group(of: ManyFunction.edu)) : .sameIOMMUFD))
        try device.hotReset()
        try device.close()
      }
      _ = try? DriverBinding().restore([ManyFunction.secondEdu])
      let device = try VFIODevice.open(ManyFunction.edu, mode: mode)
      Self.expectRefusal(device, naming: ["\(ManyFunction.secondEdu) (no driver)"])
    }
  }
}
