// SPDX-License-Identifier: Apache-2.0
import DMACore
import Testing
import VDUSE

/// Control messages as the kernel writes them, byte for byte.
@Suite struct VDUSEMessageTests {
  /// A request of the kernel: type, id, four reserved words, 32 words of payload.
  static func bytes(type: UInt32, id: UInt32, _ payload: [UInt32] = []) -> [UInt8] {
    let words = [type, id, 0, 0, 0, 0] + payload + [UInt32](repeating: 0, count: 32 - payload.count)
    return words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
  }

  static let recorded: [(UInt32, [UInt32], VDUSERequest.Subject)] = [
    (0, [3], .queueState(3)),
    (1, [15], .status([.acknowledge, .driver, .driverOK, .featuresOK])),
    (1, [0], .status([])),
    (2, [0, 0, .max, .max, 2], .iotlb(IOVARange(start: IOVA(0), last: IOVA(.max)), addressSpace: 2)),
    (
      2, [0x1000, 1, 0x1fff, 1],
      .iotlb(IOVARange(start: IOVA(0x1_0000_1000), last: IOVA(0x1_0000_1fff)), addressSpace: 0)
    ),
    (3, [1, 4], .groupAddressSpace(group: 1, addressSpace: 4)),
    (4, [7, 1], .queueReady(7, true)), (4, [7, 0], .queueReady(7, false)),
    (5, [], .suspend),
    (6, [1, 2], .unknown(type: 6)), (.max, [], .unknown(type: .max)),
    // A range that ends before it begins.
    (2, [0x2000, 0, 0x1000, 0], .unknown(type: 2)),
  ]

  @Test(arguments: recorded.indices)
  func aRequestIsRead(_ index: Int) throws {
    let (type, payload, subject) = Self.recorded[index]
    let request = try #require(VDUSERequest(Self.bytes(type: type, id: 0x1234_5678, payload)[...], .one))
    #expect(request.id == 0x1234_5678 && request.subject == subject)
  }

  @Test func beforeVersionOneAnUpdateNamesNoAddressSpace() throws {
    let bytes = Self.bytes(type: 2, id: 1, [0, 0, 0xfff, 0, 9])
    let request = try #require(VDUSERequest(bytes[...], .zero))
    #expect(request.subject == .iotlb(IOVARange(start: IOVA(0), last: IOVA(0xfff)), addressSpace: 0))
  }

  @Test(arguments: [0, 1, 24, 151, 153])
  func whatIsNoWholeRequestIsNone(_ count: Int) {
    let bytes = Self.bytes(type: 1, id: 1) + [0]
    #expect(VDUSERequest(bytes[..<count], .one) == nil)
  }

  @Test func aResponseHasTheKernelsLayout() {
    let plain = VDUSEResponse(to: 0x0102_0304, isDone: false).bytes
    #expect(plain.count == 152 && Array(plain.prefix(8)) == [4, 3, 2, 1, 1, 0, 0, 0])
    #expect(plain.dropFirst(8).allSatisfy { $0 == 0 })
    let split = VDUSEQueueReport(queue: 2, state: VDUSEQueueState(availableIndex: 0xabcd))
    let bytes = VDUSEResponse(to: 1, isDone: true, queueState: split).bytes
    #expect(Array(bytes[4..<8]) == [0, 0, 0, 0])
    #expect(Array(bytes[24..<36]) == [2, 0, 0, 0, 0xcd, 0xab, 0, 0, 0, 0, 0, 0])
    let packed = VDUSEQueueState(availableIndex: 5, availableWrap: true, usedIndex: 6, usedWrap: false)
    let other = VDUSEResponse(to: 1, isDone: true, queueState: .init(queue: 0, state: packed, isPacked: true))
    #expect(Array(other.bytes[24..<36]) == [0, 0, 0, 0, 1, 0, 5, 0, 0, 0, 6, 0])
  }

  // MARK: Making a device

  static func disk() -> VDUSEDeviceDescription {
    VDUSEDeviceDescription(
      name: "d", deviceID: .block, vendorID: 7, features: VirtioFeature.accessPlatform, queueCount: 3,
      configuration: [0xaa, 0xbb])
  }

  @Test func aDescriptionHasTheKernelsLayout() {
    let bytes = Self.disk().bytes(for: .one)
    #expect(bytes.count == 338 && bytes[0] == 0x64 && bytes[1..<256].allSatisfy { $0 == 0 })
    #expect(Array(bytes[256..<264]) == [7, 0, 0, 0, 2, 0, 0, 0] && bytes[268] == 2, "features: bit 33")
    #expect(Array(bytes[272..<288]) == [3, 0, 0, 0, 0, 16, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0])
    #expect(Array(bytes[332...]) == [2, 0, 0, 0, 0xaa, 0xbb])
    #expect(Array(Self.disk().bytes(for: .zero)[280..<288]) == [0, 0, 0, 0, 0, 0, 0, 0], "no groups")
  }

  @Test func whatVDUSERefusesHasAReason() {
    #expect(Self.disk().objection(.one) == nil && Self.disk().objection(.zero) == nil)
    func reason(_ change: (inout VDUSEDeviceDescription) -> Void) -> String? {
      var description = Self.disk()
      change(&description)
      return description.objection(.one)
    }
    #expect(reason { $0.groupCount = 0 }?.contains("group") == true)
    #expect(reason { $0.addressSpaceCount = 0 }?.contains("address space") == true)
    #expect(reason { $0.queueAlignment = 3 }?.contains("alignment") == true)
    #expect(reason { $0.queueAlignment = 8192 }?.contains("alignment") == true)
    #expect(reason { $0.configuration = .init(repeating: 0, count: 4097) }?.contains("page") == true)
    #expect(reason { $0.queueCount = 65536 }?.contains("65535") == true)
    #expect(reason { $0.name = "" }?.contains("name") == true)
    #expect(reason { $0.deviceID = .init(rawValue: 4) }?.contains("only") == true)
    #expect(reason { $0.features = 0 }?.contains("bit 33") == true)
    #expect(reason { $0.features |= 1 << 11 }?.contains("bit 11") == true)
    #expect(
      reason {
        $0.deviceID = .network; $0.features |= 1 << 17 | 1 << 32
      }?.contains("bit 17") == true)
    #expect(reason { $0.deviceID = .network }?.contains("bit 32") == true)
  }
}
