// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore
import Glibc
import IOMMUFD
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  @Suite struct OpeningTests {
    @Test(arguments: LabFunction.modes)
    func aForcedModeIsHonoured(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      #expect(device.mode == mode)
      #expect(mode == .iommufd ? device.addressSpace is IOAS : device.addressSpace is VFIOContainer)
      #expect(try device.configuration.read32(at: 0) == 0x11e8_1234)
      #expect(device.resources.barByteCounts == [1 << 20, 0, 0, 0, 0, 0])
      #expect(device.resources.vectorCounts == [.intx: 1, .msi: 1])
      try device.close()
    }

    @Test func iommufdIsPreferred() throws {
      let device = try LabFunction.open(LabFunction.edu, nil)
      #expect(device.mode == .iommufd)
      let (someID, someSpace) = (device.iommufdID, device.addressSpace as? IOAS)
      let id = try #require(someID)
      let space = try #require(someSpace)
      let info = try IOMMUHardwareInfo(of: id, in: space.context)
      guard case .intelVTd(let capability, _) = info.kind else {
        Issue.record("QEMU's intel-iommu says that it is \(info.kind)")
        return
      }
      #expect(capability != 0)
      #expect(info.pasidBits == 0, "edu has no PASID capability")
    }

    @Test(arguments: LabFunction.modes)
    func busMasterIsOffAtFirstAndFollowsOrders(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      #expect(try !device.configuration.isBusMasterEnabled)
      try device.setBusMaster(true)
      #expect(try device.configuration.isBusMasterEnabled)
      try device.setBusMaster(false)
      #expect(try !device.configuration.isBusMasterEnabled)
    }

    @Test(arguments: LabFunction.modes)
    func aWindowIsMappedAndAgreesWithReadsThroughTheKernel(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let region = device.regions[0]
      #expect(region.mappableAreas == [0..<(1 << 20)])
      #expect(device.regions[Int(VFIORegionIndex.configuration.rawValue)].mappableAreas.isEmpty)
      let window = try device.mapBAR(.bar0)
      #expect(window.mappedByteCount == 1 << 20)
      let identification = Register32(byteOffset: 0, access: .readOnly)
      #expect(window.read(identification) == 0x0100_00ed)
      let kernelWindow = try device.unmappedWindow(.bar0)
      #expect(kernelWindow.mappedByteCount == 0)
      #expect(kernelWindow.read(identification) == 0x0100_00ed)
      kernelWindow.write(0x1234_5678, to: Register32(byteOffset: 4, access: .readWrite))
      #expect(window.read(Register32(byteOffset: 4, access: .readOnly)) == ~0x1234_5678)
      #expect(window.takeFault() == nil && kernelWindow.takeFault() == nil)
      guard case .mapped(let mapped) = window.mapped() else {
        Issue.record("the whole BAR is mapped")
        return
      }
      #expect(mapped.read(identification) == 0x0100_00ed)
    }

    @Test func aBARThatIsNotThereIsRefused() throws {
      let device = try LabFunction.open(LabFunction.edu, LabFunction.anyMode)
      let error = #expect(throws: KernelError.self) { _ = try device.mapBAR(.bar1) }
      #expect(error?.errno == .noSuchAddressOrDevice)
    }

    /// igb and nvme have MSI-X tables in BARs: every place is readable, mapped or not.
    @Test(arguments: [LabFunction.nvme, LabFunction.igb])
    func everyBARWindowIsReadableThroughout(_ address: PCIAddress) throws {
      let device = try LabFunction.open(address, .type1v2)
      for bar in PCIBAR.Index.allCases where device.resources.barByteCounts[bar.rawValue] > 0 {
        let window = try device.mapBAR(bar)
        var offset = 0
        while offset < window.byteCount {
          _ = window.load(UInt32.self, at: offset)
          offset += 1024
        }
        #expect(window.takeFault() == nil, "\(address) \(bar)")
      }
    }

    @Test(arguments: LabFunction.modes)
    func aSecondOpeningIsBusyAndNamesTheHolder(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let error = #expect(throws: KernelError.self) {
        _ = try VFIODevice.open(LabFunction.edu, mode: mode)
      }
      #expect(
        error?.errno == .resourceBusy || error?.errno == .invalidArgument, "\(error?.description ?? "")")
      #expect(error?.remedy?.contains("\(getpid())") == true, "\(error?.description ?? "")")
      #expect(try device.configuration.vendorID == 0x1234, "the first owner is not disturbed")
    }

    @Test func closingWantsWindowsGone() throws {
      let device = try LabFunction.open(LabFunction.edu, LabFunction.anyMode)
      let window = try device.mapBAR(.bar0)
      var caught: KernelError?
      do throws(KernelError) { try device.close() } catch { caught = error }
      #expect(caught?.errno == .resourceBusy)
      #expect(window.load(UInt32.self, at: 0) == 0x0100_00ed, "the window keeps the device open")
    }

    @Test func whatIsNotThereOrNotBoundIsNamed() throws {
      let absent = #expect(throws: KernelError.self) { _ = try VFIODevice.open(LabFunction.absent) }
      #expect(absent?.subject.contains("0000:00:1e.7") == true)
      let bridge = #expect(throws: KernelError.self) { _ = try VFIODevice.open(LabFunction.rootPort) }
      #expect(bridge?.remedy?.contains("pcieport") == true)
    }

    @Test func aGroupThatIsNotViableNamesTheMember() throws {
      try DriverBinding().bind([LabFunction.eduInSharedGroup], force: true)
      defer { _ = try? DriverBinding().restore([LabFunction.eduInSharedGroup]) }
      let error = #expect(throws: KernelError.self) {
        _ = try VFIODevice.open(LabFunction.eduInSharedGroup, mode: .type1v2)
      }
      #expect(
        error?.remedy?.contains("\(LabFunction.networkInSharedGroup) (virtio-pci)") == true,
        "\(error?.description ?? "")")
    }

    @Test func twoFunctionsShareAContainer() throws {
      try LabFunction.lend(LabFunction.edu)
      try LabFunction.lend(LabFunction.secondEdu)
      let container = try VFIOContainer(mode: .type1v2)
      let numbers = try [LabFunction.edu, LabFunction.secondEdu].map {
        try PCIBus().function(at: $0).iommuGroup
      }
      let first = try VFIOGroup(try #require(numbers[0]), joining: container)
      let second = try VFIOGroup(try #require(numbers[1]), joining: container)
      let device = try VFIODevice(LabFunction.edu, in: first)
      let other = try VFIODevice(LabFunction.secondEdu, in: second)
      let spaces = (device.addressSpace, other.addressSpace)
      #expect(spaces.0 === spaces.1)
      let memory = try container.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      _ = try memory.reclaim()
    }
  }
}
