// SPDX-License-Identifier: Apache-2.0
import DMACore
import IOMMUFD
import PCIBus
import Testing
import VFIO

/// Answers about devices, well formed and not.
@Suite struct DeviceAnswerTests {
  private func words(_ values: UInt32...) -> [UInt8] {
    values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
  }

  @Test func aDeviceTellsItsAtomicOperations() {
    // flags PCI, RESET and CAPS; capability 5 version 1 behind the head.
    let head = words(40, 0x83, 10, 5, 24, 0)
    let info = VFIODeviceInfo(decoding: head + words(0x0001_0005, 0, 0b011, 0))
    #expect(info.isPCI && info.isResettable && info.regionCount == 10 && info.interruptIndexCount == 5)
    #expect(info.atomicCompletions == [.bits32, .bits64])
    let plain = VFIODeviceInfo(decoding: words(24, 0x02, 9, 5, 24, 0) + words(0x0001_0005, 0, 7, 0))
    #expect(plain.isPCI && !plain.isResettable && plain.atomicCompletions.isEmpty)
  }

  @Test func everyTruncationOfADeviceIsSurvived() {
    let whole = words(40, 0x83, .max, .max, 24, 0) + words(0x0001_0005, 24, 7, 0)
    for count in 0...whole.count {
      let info = VFIODeviceInfo(decoding: Array(whole.prefix(count)))
      #expect(info.regionCount <= 256 && info.interruptIndexCount <= 256)
      #expect(count >= whole.count - 4 || info.atomicCompletions.isEmpty)
    }
  }

  @Test func aRegionOfAVendorHasAType() {
    // A region of 8 KiB, readable, with capability 2 (type).
    let head = words(48, 0x09, 9, 32, 0x2000, 0, 0, 0x90000)
    let info = VFIORegionInfo(
      VFIORegionIndex(9), decoding: head + words(0x0001_0002, 0, 0x8000_8086, 1))
    #expect(info.type == .intelGraphicsOpRegion)
    #expect(info.type?.vendorID == 0x8086 && info.type?.subtype == 1 && info.byteCount == 0x2000)
    #expect(info.type?.description == "vendor 8086, subtype 1")
    let display = VFIORegionInfo(VFIORegionIndex(9), decoding: head + words(0x0001_0002, 0, 1, 1))
    #expect(display.type == .displayEDID && display.type?.vendorID == nil)
    #expect(display.type?.description == "type 1, subtype 1")
    #expect(VFIORegionInfo(VFIORegionIndex(9), decoding: head).type == nil)
  }

  @Test func regionsHaveNames() {
    let names = [VFIORegionIndex.bar(2), .rom, .configuration, .vga, VFIORegionIndex(9)].map(\.description)
    #expect(names == ["BAR 2", "ROM", "configuration space", "VGA", "region 9"])
  }

  private func dependent(_ id: UInt32, bus: UInt8, _ slot: UInt8, _ function: UInt8) -> [UInt8] {
    words(id) + [0, 0, bus, slot << 3 | function]
  }

  @Test func aHotResetByGroupsNamesTheStrangers() throws {
    let info = VFIOHotResetInfo(
      decoding: words(28, 0, 2) + dependent(9, bus: 1, 0, 0) + dependent(10, bus: 1, 16, 2))
    #expect(info.isOwned == nil)
    #expect(info.functions.map(\.address.description) == ["0000:01:00.0", "0000:01:10.2"])
    #expect(info.functions.map(\.owner) == [.group(9), .group(10)])
    #expect(info.strangers(owning: [9]).map(\.address.description) == ["0000:01:10.2"])
    #expect(info.strangers(owning: [9, 10]).isEmpty)
  }

  @Test func aHotResetByDevicesIsProvenByTheKernel() {
    let functions =
      dependent(3, bus: 1, 0, 0) + dependent(0, bus: 1, 0, 1) + dependent(.max, bus: 1, 0, 2)
    let mixed = VFIOHotResetInfo(decoding: words(36, 1, 3) + functions)
    #expect(mixed.isOwned == false)
    #expect(mixed.functions.map(\.owner) == [.device(IOMMUFDObjectID(3)), .sameIOMMUFD, .other])
    #expect(mixed.strangers(owning: [1, 2, 3]).map(\.address.function) == [2])
    #expect(VFIOHotResetInfo(decoding: words(36, 3, 1) + functions).isOwned == true)
  }

  @Test func everyTruncationOfAHotResetIsSurvived() {
    let whole = words(28, 0, .max) + dependent(9, bus: 1, 0, 0) + dependent(10, bus: 1, 16, 2)
    for count in 0...whole.count {
      let info = VFIOHotResetInfo(decoding: Array(whole.prefix(count)))
      #expect(info.functions.count == max(0, count - 12) / 8)
    }
  }

  @Test func precopyNumbersAreRead() {
    let info = VFIOPrecopyInfo(decoding: words(24, 1, 0x1000, 0, 0x20, 1))
    #expect(
      info?.initialByteCount == 0x1000 && info?.dirtyByteCount == 0x1_0000_0020 && info?.isRestarted == true)
    #expect(VFIOPrecopyInfo(decoding: words(24, 0, 0, 0, 0, 0))?.isRestarted == false)
    #expect(VFIOPrecopyInfo(decoding: words(24, 0, 0, 0, 0)) == nil)
  }

  @Test func statesAndFeaturesHaveTheKernelsNumbers() {
    let states: [VFIOMigrationState] = [
      .error, .stopped, .running, .stopCopy, .resuming, .runningWithoutPeers, .preCopy, .preCopyWithoutPeers,
    ]
    #expect(states.map(\.rawValue) == Array(0...7))
    #expect(VFIODeviceFeature.known.map(\.rawValue) == Array(0...13))
    #expect(VFIODeviceFeature.known.allSatisfy { !$0.description.hasPrefix("feature") })
    #expect(VFIODeviceFeature(rawValue: 99).description == "feature 99")
    #expect(VFIOMigrationMethods([.stopCopy, .withoutPeers, .preCopy]).rawValue == 7)
  }
}

@Suite struct VFTokenTests {
  private static let text = "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3"

  @Test func aTokenIsAUUIDInItsWrittenOrder() throws {
    let token = try #require(VFToken(Self.text))
    #expect(token.bytes.prefix(5) == [0xbd, 0x8d, 0x9d, 0x2b, 0x5a] && token.bytes.last == 0xf3)
    #expect(token.description == Self.text)
    #expect(VFToken(Self.text.uppercased()) == token)
    #expect(VFToken(bytes: token.bytes) == token)
  }

  @Test(
    arguments: [
      "", "bd8d9d2b", "bd8d9d2b5a5f4f5aa211f591514ba1f3", "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f", "é" + text,
      "bd8d9d2b-5a5f-4f5a-a211-f591514ba1fg", "bd8d9d2-b5a5f-4f5a-a211-f591514ba1f3", text + " ",
      "+d8d9d2b-5a5f-4f5a-a211-f591514ba1f3",
    ])
  func anythingElseIsNone(_ text: String) { #expect(VFToken(text) == nil) }

  @Test func drawnTokensDifferAndAreOfVersion4() {
    let tokens = (0..<100).map { _ in VFToken() }
    #expect(Set(tokens).count == 100)
    #expect(tokens.allSatisfy { $0.bytes[6] >> 4 == 4 && $0.bytes[8] >> 6 == 2 })
    #expect(VFToken(bytes: []) == nil)
  }
}
