// SPDX-License-Identifier: Apache-2.0
import DMACore
import Testing
import VFIO

/// Answers of the kernel, well formed and not.
@Suite struct InfoAnswerTests {
  /// Little-endian fields one after the other.
  private struct Answer {
    var bytes: [UInt8] = []
    func adding(_ values: UInt32...) -> Answer {
      Answer(
        bytes: bytes
          + values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } })
    }
    func words(_ values: UInt64...) -> Answer {
      Answer(
        bytes: bytes
          + values.flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } })
    }
  }

  private static let readable: UInt32 = 1
  private static let mappable: UInt32 = 4
  private static let withCapabilities: UInt32 = 8

  private func region(_ flags: UInt32, _ chain: Answer, first: UInt32 = 32, byteCount: UInt64 = 0x10000)
    -> VFIORegionInfo
  {
    let head = Answer().adding(0, flags, 2, first).words(byteCount, 0x20_0000_0000)
    return VFIORegionInfo(.bar(2), decoding: head.bytes + chain.bytes)
  }

  @Test func aPlainRegionIsMappedAsAWhole() {
    let info = region(Self.readable | Self.mappable, Answer())
    #expect(info.byteCount == 0x10000 && info.fileOffset == 0x20_0000_0000)
    #expect(
      info.mappableAreas == [0..<0x10000] && info.isReadable && !info.isWritable && !info.isMSIXMappable)
    #expect(region(Self.readable, Answer()).mappableAreas.isEmpty)
  }

  @Test func sparseAreasAreTheOnlyOnesThatAreMapped() {
    // Capability 1 version 1, then MSI-X mappable (3) behind it.
    let chain = Answer().adding(0x0001_0001, 32 + 48).adding(2, 0)
      .words(0, 0x1000, 0x3000, 0xd000).adding(0x0001_0003, 0)
    let info = region(Self.mappable | Self.withCapabilities, chain)
    #expect(info.mappableAreas == [0..<0x1000, 0x3000..<0x10000])
    #expect(info.isMSIXMappable)
  }

  @Test func areasBeyondTheRegionAreLeftOut() {
    let chain = Answer().adding(0x0001_0001, 0).adding(4, 0)
      .words(0xf000, 0x2000, .max, 1, 0x1000, 0, 0x2000, 0x1000)
    #expect(region(Self.mappable | Self.withCapabilities, chain).mappableAreas == [0x2000..<0x3000])
  }

  @Test func aCountThatTheAnswerDoesNotHoldEndsWithIt() {
    let chain = Answer().adding(0x0001_0001, 0).adding(.max, 0).words(0, 0x1000)
    #expect(region(Self.mappable | Self.withCapabilities, chain).mappableAreas == [0..<0x1000])
  }

  @Test(arguments: [32, 33, 31, 40, 0xffff_fff0] as [UInt32])
  func aChainThatLoopsOrLeavesEnds(_ next: UInt32) {
    let chain = Answer().adding(0x0001_0007, next).adding(0, 0)
    let info = region(Self.mappable | Self.withCapabilities, chain)
    #expect(info.mappableAreas == [0..<0x10000])
  }

  @Test func everyTruncationIsSurvived() {
    let chain = Answer().adding(0x0001_0001, 0).adding(2, 0).words(0, 0x1000, 0x3000, 0x1000)
    let whole =
      Answer().adding(0, Self.mappable | Self.withCapabilities, 2, 32).words(0x10000, 0).bytes
      + chain.bytes
    for count in 0...whole.count {
      let info = VFIORegionInfo(.bar(2), decoding: Array(whole.prefix(count)))
      #expect(info.mappableAreas.allSatisfy { $0.upperBound <= info.byteCount })
    }
  }

  @Test func aContainerTellsItsRangesAndMappings() {
    let chain = Answer().adding(0x0001_0001, 24 + 48).adding(2, 0)
      .words(0, 0xfedf_ffff, 0xfef0_0000, (1 << 48) - 1).adding(0x0001_0003, 0, 65535)
    let head = Answer().adding(0, 3).words(0x4020_1000).adding(24, 0)
    let info = VFIOContainerInfo(decoding: head.bytes + chain.bytes)
    #expect(info.pageSizes == 0x4020_1000 && info.availableMappings == 65535)
    #expect(
      info.allowedRanges == [
        IOVARange(start: IOVA(0), last: IOVA(0xfedf_ffff)),
        IOVARange(start: IOVA(0xfef0_0000), last: IOVA((1 << 48) - 1)),
      ])
  }

  @Test func aContainerThatTellsNothingIsTakenForTheSmallest() {
    let info = VFIOContainerInfo(decoding: Answer().adding(0, 1).words(0x1000).adding(0, 0).bytes)
    #expect(info.availableMappings == nil)
    #expect(
      !info.allowedRanges.contains {
        $0.contains(IOVARange(start: IOVA(0xfee0_0000), last: IOVA(0xfee0_0000)))
      })
    #expect(info.allowedRanges.last?.last == IOVA((1 << 39) - 1))
  }

  @Test func aContainerTellsOfItsLogOfDirtyPages() {
    // Capability 2 version 1, then one that nobody knows, then 3.
    let chain = Answer().adding(0x0001_0002, 24 + 32).adding(0, 0).words(0x4020_1000, 1 << 28)
      .adding(0x0001_0063, 24 + 40).adding(0x0001_0003, 0, 7)
    let head = Answer().adding(0, 3).words(0x1000).adding(24, 0)
    let info = VFIOContainerInfo(decoding: head.bytes + chain.bytes)
    #expect(info.dirtyLog?.pageSizes == 0x4020_1000 && info.dirtyLog?.maximumBitmapByteCount == 1 << 28)
    #expect(info.dirtyLog?.pageByteCount == 4096)
    #expect(info.otherCapabilities == [0x63] && info.availableMappings == 7)
    for count in 0..<(24 + 32) {
      #expect(VFIOContainerInfo(decoding: Array((head.bytes + chain.bytes).prefix(count))).dirtyLog == nil)
    }
  }

  @Test func modesWithoutAnIOMMUAreKeptApart() {
    #expect(VFIOMode.withoutIOMMU.map(\.rawValue) == ["noiommu", "compat-noiommu", "noiommu-cdev"])
    #expect(VFIOMode.withoutIOMMU.allSatisfy { $0.isWithoutIOMMU && !VFIOMode.allCases.contains($0) })
    #expect(
      VFIOMode.noIOMMU.usesGroup && VFIOMode.compatNoIOMMU.usesGroup && !VFIOMode.noIOMMUDevice.usesGroup)
  }

  @Test func extensionsHaveTheKernelsNames() {
    #expect("\(VFIOExtension.updateAddress)" == "VFIO_UPDATE_VADDR" && VFIOExtension.unmapAll.rawValue == 9)
    #expect("\(VFIOExtension(rawValue: 77))" == "extension 77")
  }

  @Test func modesHaveTheNamesOfTheCommandLine() {
    #expect(
      VFIOMode.allCases.map(\.rawValue) == ["iommufd", "type1v2", "type1", "compat-type1v2", "compat-type1"])
    #expect(VFIOMode.allCases.filter(\.usesGroup).count == 4)
  }
}
