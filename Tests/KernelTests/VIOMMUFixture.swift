// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import Testing

/// A virtual IOMMU on a mock device, or only an address space.
struct VIOMMUFixture {
  enum Variant: String, CaseIterable, CustomTestStringConvertible {
    case noVIOMMU, mockVIOMMU

    var testDescription: String { rawValue }
  }

  static let model = VIOMMU.Model(rawValue: CMOCK_VIOMMU_TYPE)
  static let events = VEventQueue.Model(rawValue: CMOCK_VEVENTQ_TYPE, dataByteCount: 4)
  static let queues = HWQueue.Model(rawValue: CMOCK_HW_QUEUE_TYPE)

  let page: PageTableFixture
  let parent: HWPageTable
  let viommu: VIOMMU

  init() throws(KernelError) {
    page = try PageTableFixture()
    parent = try HWPageTable(of: page.ioas, for: page.devices[0], options: .nestParent)
    viommu = try VIOMMU(in: parent, for: page.devices[0], Self.model)
  }

  var device: IOMMUFDDevice { page.devices[0] }
  var mock: MockDevice { page.mocks[0] }

  func nested(faults: FaultQueue? = nil) throws(KernelError) -> HWPageTable {
    try HWPageTable(nestedIn: viommu, for: device, data: PageTableFixture.data(), faults: faults)
  }

  /// Requests to invalidate entries of mock devices' caches.
  static func invalidation(
    _ entries: [(flags: UInt32, device: UInt32, index: UInt32)], type: UInt32 = CMOCK_VIOMMU_INVALIDATE_TYPE
  ) -> CacheInvalidation {
    CacheInvalidation(
      type: type, entryByteCount: 12,
      bytes: entries.flatMap { littleEndianBytes($0.flags, $0.device, $0.index) })
  }
}
