// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore
import Foundation
import IOMMUFD
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// Real functions on page tables of this process.
  @Suite struct PageTableTests {
    private func parts(_ device: borrowing VFIODevice) throws -> (IOAS, IOMMUFDDevice) {
      let (space, bound) = (device.addressSpace as? IOAS, device.iommufdDevice)
      return (try #require(space), try #require(bound))
    }

    /// Through the kernel's own table, then one of this process, then the kernel's again: DMA works throughout, and what
    /// is mapped is mapped in each.
    @Test func transfersGoThroughAPageTableOfThisProcess() throws {
      let stand = try EduStand(.iommufd)
      let (space, bound) = try parts(stand.device)
      var memory = try UnsharedMemory(byteCount: 4096)
      do {
        var bytes = memory.bytes
        bytes.storeBytes(of: 0x1234_5678, toByteOffset: 0, as: UInt32.self)
      }
      let before = try space.exposeToEdu(memory)
      let table = try HWPageTable(of: space, for: bound)
      try stand.device.attach(to: table)
      guard case .pageTable(let attached) = bound.attachment else {
        Issue.record("attached to \(String(describing: bound.attachment))")
        return
      }
      #expect(attached === table)
      #expect(space.context.objects.users(of: table.id).map(\.id) == [bound.id])
      try stand.engine.load(from: before.iova, byteCount: 4)
      let after = try space.exposeToEdu(UnsharedMemory(byteCount: 4096))
      try stand.engine.store(to: after.iova, byteCount: 4)
      #expect(after.load(UInt32.self, at: 0) == 0x1234_5678)

      let busy = #expect(throws: KernelError.self) { try table.close() }
      #expect(
        busy?.errno == .resourceBusy && busy?.remedy?.contains("0000:00:02.0) as RID") == true,
        "\(busy?.remedy ?? "")")
      try stand.device.attachToAddressSpace()
      try table.close()
      try stand.engine.store(to: before.iova(at: 8), byteCount: 4)
      #expect(before.load(UInt32.self, at: 8) == 0x1234_5678)
    }

    /// A page table that the device is attached to lives as long as the device is open, whoever lets go of it.
    @Test func anAttachedTableOutlivesItsHolder() throws {
      let stand = try EduStand(.iommufd)
      let (space, bound) = try parts(stand.device)
      try stand.device.attach(to: try HWPageTable(of: space, for: bound))
      let memory = try space.exposeToEdu(UnsharedMemory(byteCount: 4096))
      try stand.engine.store(to: memory.iova, byteCount: 8)
      let kinds = space.context.objects.objects.map(\.kind)
      #expect(kinds.filter { $0 == .pageTable }.count == 1)
    }

    @Test func aClosedDeviceLeavesNothingBehind() throws {
      let space: IOAS
      do {
        let device = try LabFunction.open(LabFunction.edu, .iommufd)
        let (own, bound) = try parts(device)
        space = own
        try device.attach(to: try HWPageTable(of: own, for: bound))
        #expect(space.context.objects.objects.map(\.kind) == [.ioas, .device, .pageTable])
        // What `parts` answered holds the device.
        _ = consume bound
        try device.close()
      }
      #expect(space.context.objects.objects.map(\.kind) == [.ioas])
      #expect(try IOAS(in: space.context).id.rawValue == 2, "the kernel has no other object")
    }

    @Test(arguments: [LabFunction.edu, LabFunction.igb])
    func aFunctionWithoutPASIDsIsRefused(_ address: PCIAddress) throws {
      let device = try LabFunction.open(address, .iommufd)
      let (space, bound) = try parts(device)
      #expect(try device.pasidBits() == 0)
      let pasid = try #require(PASID(1))
      let table = try pasidTable(of: space, for: bound)
      try device.attach(to: table)
      let error = #expect(throws: KernelError.self) { _ = try device.attach(pasid, to: table) }
      #expect(error?.operation == "attach PASID" && error?.errno == .notSupported)
      #expect(error?.subject == "\(address), PASID 1")
    }

    /// With the option `pasid` where the IOMMU takes it; what the device lacks is another matter.
    private func pasidTable(of space: IOAS, for bound: IOMMUFDDevice) throws -> HWPageTable {
      do throws(KernelError) {
        return try HWPageTable(of: space, for: bound, options: .pasid)
      } catch {
        #expect(error.iommufdCode == .unsupportedValue)
        return try HWPageTable(of: space, for: bound)
      }
    }

    @Test func aTableOfAnotherAddressSpaceIsRefused() throws {
      let device = try LabFunction.open(LabFunction.edu, .iommufd)
      let (space, bound) = try parts(device)
      let other = try HWPageTable(of: IOAS(in: space.context), for: bound)
      let error = #expect(throws: KernelError.self) { try device.attach(to: other) }
      #expect(error?.errno == .invalidArgument && error?.remedy?.contains(space.label) == true)
    }

    @Test(arguments: LabFunction.modes.filter(\.usesGroup))
    func modesWithAGroupHaveNoPageTables(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let isBound = device.iommufdDevice != nil
      #expect(!isBound)
      let error = #expect(throws: KernelError.self) { try device.attachToAddressSpace() }
      #expect(error?.errno == .notSupported && error?.remedy?.contains("iommufd") == true)
    }

    /// What QEMU's IOMMU cannot is refused by its own code, not by a stranger's.
    @Test func whatTheIOMMUCannotIsNamed() throws {
      let device = try LabFunction.open(LabFunction.edu, .iommufd)
      let (space, bound) = try parts(device)
      #expect(try !device.hardwareInfo().tracksDirtyPages)
      let dirty = #expect(throws: KernelError.self) {
        _ = try HWPageTable(of: space, for: bound, options: .dirtyTracking)
      }
      #expect(dirty?.iommufdCode == .unsupportedValue)
      let table = try HWPageTable(of: space, for: bound)
      let virtual = #expect(throws: KernelError.self) { _ = try VIOMMU(in: table, for: bound, .armSMMUv3) }
      #expect(virtual?.iommufdCode == .unsupportedValue)
    }

    @Test func theProgramPrintsTheObjects() throws {
      let text = try objects()
      #expect(
        text.contains("device ") && text.contains("(0000:00:02.0)") && text.contains("  RID -> HWPT "),
        "\(text)")
      #expect(text.contains("fault queue ") && text.contains("  maps -> IOAS 1"), "\(text)")
      let dot = try objects("--dot")
      #expect(dot.hasPrefix("digraph iommufd {") && dot.hasSuffix("}\n"))
      let json = try JSONSerialization.jsonObject(with: Data(objects("--json").utf8))
      #expect((json as? [[String: Any]])?.compactMap { $0["kind"] as? String }.contains("HWPT") == true)
    }

    private func objects(_ arguments: String...) throws -> String {
      let (process, output) = (Process(), Pipe())
      process.executableURL = URL(fileURLWithPath: Lab.vfioctl)
      process.arguments = ["objects", "0000:00:02.0"] + arguments
      process.standardOutput = output
      try process.run()
      let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      #expect(process.terminationStatus == 0)
      return text
    }

    #if DEBUG
      @Test func everyCallMayFail() throws {
        try LabFunction.lend(LabFunction.edu)
        try faultSweep(.noMemory, concerning: concernsVFIO) { plan in
          do {
            try FaultPlan.$current.withValue(plan) {
              let device = try VFIODevice.open(LabFunction.edu, mode: .iommufd)
              let (space, bound) = (device.addressSpace as? IOAS, device.iommufdDevice)
              if let space, let bound {
                let table = try HWPageTable(of: space, for: bound)
                try device.attach(to: table)
                try device.attachToAddressSpace()
                try table.close()
              }
            }
          } catch let error as KernelError {
            #expect(plan.wasReached && error.errno == .noMemory)
          }
        }
      }
    #endif
  }
}
