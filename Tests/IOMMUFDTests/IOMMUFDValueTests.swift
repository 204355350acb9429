// SPDX-License-Identifier: Apache-2.0
import LinuxHandles
import SystemPackage
import Testing

import IOMMUFD

/// T0: what iommufd is told and tells, as values.
@Suite struct IOMMUFDValueTests {
  @Test func eachMeaningHasItsCode() {
    let codes: [IOMMUFDErrorCode] = [
      .unknownCall, .unknownField, .unsupportedValue, .invalidValue, .noSuchObject, .outOfMemory, .overflow,
      .inUse, .alreadyExists,
    ]
    #expect(Set(codes).count == 9 && Set(codes.map(\.meaning)).count == 9)
    #expect(
      codes.map(\.errno) == [
        .inappropriateIOCTLForDevice, .argListTooLong, .notSupported, .invalidArgument,
        .noSuchFileOrDirectory,
        .noMemory, .overflow, .resourceBusy, .fileExists,
      ])
    for code in codes {
      #expect(IOMMUFDErrorCode(code.errno) == code)
      #expect(KernelError(operation: "IOMMU_HWPT_ALLOC", errno: code.errno, subject: "").iommufdCode == code)
      #expect(KernelError(operation: "open", errno: code.errno, subject: "").iommufdCode == nil)
    }
    #expect(IOMMUFDErrorCode(.badAddress) == nil)
  }

  @Test func anUnknownCallNamesTheKernelThatHasIt() {
    let error = KernelError(operation: "IOMMU_VIOMMU_ALLOC", errno: .inappropriateIOCTLForDevice, subject: "")
    #expect(error.advisingOnIOMMUFD(since: "6.13").remedy?.contains("Linux 6.13") == true)
  }

  @Test func vendorsTablesHaveTheKernelsLayout() {
    let vtd = HWPageTableData.intelVTdFirstStage(at: 0x1234, addressBits: 48, flags: [.writeProtect])
    #expect(vtd.type == 1 && vtd.bytes.count == 24 && vtd.bytes[0] == 4 && vtd.bytes[16] == 48)
    #expect(Array(vtd.bytes[8..<10]) == [0x34, 0x12])
    let arm = HWPageTableData.armSMMUv3(1, 2)
    #expect(arm.type == 2 && arm.bytes == [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0])
    let amd = HWPageTableData.amdGuest([1, 2, 3, 4])
    #expect(amd.type == 3 && amd.bytes.count == 32 && amd.bytes[24] == 4)
  }

  @Test func batchesHaveTheKernelsLayout() {
    let vtd = CacheInvalidation.intelVTd([.all, .init(start: 0x1000, pageCount: 2, isLeafOnly: true)])
    #expect(vtd.type == 0 && vtd.entryByteCount == 24 && vtd.count == 2)
    #expect(vtd.bytes[8..<16].allSatisfy { $0 == 0xff } && vtd.bytes[40] == 1 && vtd.bytes[32] == 2)
    let arm = CacheInvalidation.armSMMUv3([(0x11, 0)])
    #expect(arm.type == 1 && arm.count == 1 && arm.bytes[0] == 0x11)
    #expect(CacheInvalidation(type: 7, entryByteCount: 8, bytes: []).count == 0)
  }

  @Test func aBatchThatEndedEarlySaysWhy() {
    let reason = KernelError(operation: "IOMMU_HWPT_INVALIDATE", errno: .invalidArgument, subject: "")
    #expect(throws: KernelError.self) { try BatchOutcome(handledCount: 1, failure: reason).requireAll() }
    #expect(throws: Never.self) { try BatchOutcome(handledCount: 2, failure: nil).requireAll() }
  }

  /// An entry goes by who made it: the number may be another object's by then.
  @Test func aLateEndTakesNobodyElseOut() {
    let registry = ObjectRegistry()
    func object(_ id: UInt32, uses: [IOMMUFDObject.Use] = []) -> IOMMUFDObject {
      IOMMUFDObject(id: IOMMUFDObjectID(id), kind: .pageTable, label: "", uses: uses)
    }
    let first = ObjectRegistration(object(1), in: registry)
    let second = ObjectRegistration(object(1), in: registry)
    first.end()
    #expect(registry.objects.count == 1)
    first.update(uses: [.init(id: IOMMUFDObjectID(3), role: "x")])
    #expect(registry.users(of: IOMMUFDObjectID(3)).isEmpty)
    second.update(uses: [.init(id: IOMMUFDObjectID(3), role: "x")])
    #expect(registry.users(of: IOMMUFDObjectID(3)) == ["HWPT 1 as x"])
    second.end()
    #expect(registry.objects.isEmpty)
  }

  @Test func theGraphIsTextAndDOT() {
    let graph = IOMMUFDObjectGraph(objects: [
      IOMMUFDObject(id: IOMMUFDObjectID(1), kind: .ioas, label: "", uses: []),
      IOMMUFDObject(
        id: IOMMUFDObjectID(2), kind: .device, label: "a \"b\\",
        uses: [
          .init(id: IOMMUFDObjectID(1), role: "RID"), .init(id: IOMMUFDObjectID(9), role: "PASID 4"),
        ]),
    ])
    #expect(
      graph.lines() == ["IOAS 1", "device 2 (a \"b\\)", "  RID -> IOAS 1", "  PASID 4 -> object 9"])
    let dot = graph.dotLines()
    #expect(dot.contains("  o2 [label=\"device 2\\na \\\"b\\\\\", fillcolor=lightyellow];"), "\(dot)")
    #expect(dot.contains("  o2 -> o1 [label=\"RID\"];"))
    #expect(graph.users(of: IOMMUFDObjectID(1)).map(\.id) == [IOMMUFDObjectID(2)])
  }
}
