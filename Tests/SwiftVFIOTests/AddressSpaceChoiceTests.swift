// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import PCIBus
import SwiftVFIO
import SystemPackage
import TestSupport
import Testing

/// Which address space a driver is given where there is no hardware.
@Suite struct AddressSpaceChoiceTests {
  private func refusal(
    for peer: DMAPeer, forcing source: AddressSpaceChoice.Source? = nil, on bus: PCIBus = PCIBus()
  ) -> KernelError? {
    do throws(KernelError) {
      _ = try AddressSpaceChoice.make(for: peer, forcing: source, on: bus)
      return nil
    } catch {
      return error
    }
  }

  @Test func softwareGetsBounceMemoryAndSaysWhy() throws {
    let choice = try AddressSpaceChoice.make(for: .software)
    #expect(choice.source == .bounce && !choice.isBehindIOMMU)
    #expect(choice.refusals.map(\.source) == [.iommufd, .container])
    let text = "\(choice)"
    #expect(
      text.hasPrefix("bounce: software IOTLB for software, no IOMMU protects other memory; not iommufd: "))
    #expect(text.contains("; not container: "))
    let memory = try choice.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    #expect(choice.space.exposure(at: memory.iova) != nil)
    guard case .bounce(let domain) = choice.answer else { return #expect(Bool(false)) }
    #expect(domain === choice.space)
  }

  @Test func aForcedChoiceAsksNobodyElse() throws {
    let choice = try AddressSpaceChoice.make(for: .software, forcing: .bounce)
    #expect(choice.source == .bounce && choice.refusals.isEmpty)
    for source in [AddressSpaceChoice.Source.iommufd, .container] {
      let error = refusal(for: .software, forcing: source)
      #expect(error?.errno == .operationNotSupportedByDevice)
      #expect(error?.remedy?.hasPrefix("\(source.rawValue): ") == true)
      #expect(error?.remedy?.contains("bounce") == false)
    }
  }

  /// A real function never gets bounce memory, whether somebody insists or there is nothing else.
  @Test func aFunctionWithoutIOMMUGetsNone() throws {
    let machine = try FakeSysfs()
    try machine.addDriver("vfio-pci")
    try machine.addFunction("0000:00:04.0", driver: "vfio-pci")
    let bus = PCIBus(root: SystemRoot(machine.path))
    let address = try #require(PCIAddress("0000:00:04.0"))
    let forced = try #require(refusal(for: .function(address), forcing: .bounce, on: bus))
    #expect(forced.remedy?.contains("reaches physical memory") == true)
    let error = try #require(refusal(for: .function(address), on: bus))
    #expect(error.errno == .operationNotSupportedByDevice)
    let remedy = try #require(error.remedy)
    for part in ["iommufd: ", "; container: ", "; bounce: "] { #expect(remedy.contains(part)) }
    let choice = try AddressSpaceChoice.make(for: .software)
    do throws(KernelError) {
      _ = try choice.open(address, on: bus)
      Issue.record("a function in bounce memory")
    } catch {
      #expect(error.errno == .operationNotSupportedByDevice)
    }
  }

  /// What is an error is told at once: another source would not do better.
  @Test func anErrorEndsTheChoice() throws {
    let machine = try FakeSysfs()
    try machine.addDriver("e1000e")
    try machine.addFunction("0000:00:04.0", driver: "e1000e")
    let bus = PCIBus(root: SystemRoot(machine.path))
    let address = try #require(PCIAddress("0000:00:04.0"))
    let error = refusal(for: .function(address), on: bus)
    #expect(error?.errno == .resourceBusy && error?.remedy?.contains("vfioctl bind") == true)
    let absent = try #require(PCIAddress("0000:00:05.0"))
    #expect(refusal(for: .function(absent), on: bus)?.operation == "find")
    let layout = IOTLBLayout(bounceByteCount: 1, limit: IOVA(4095))
    #expect(throws: KernelError.self) { try AddressSpaceChoice.make(for: .software, layout: layout) }
  }
}
