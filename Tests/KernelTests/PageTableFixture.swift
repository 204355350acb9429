// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import Testing

/// An address space and mock devices in it, as the kernel's acceptance cases vary them.
struct PageTableFixture {
  enum Variant: String, CaseIterable, CustomTestStringConvertible {
    case noDomain, mockDomain, twoMockDomains, mockDomainWithLimit

    var testDescription: String { rawValue }
    var deviceCount: Int {
      switch self {
      case .noDomain: 0
      case .mockDomain, .mockDomainWithLimit: 1
      case .twoMockDomains: 2
      }
    }
  }

  let ioas: IOAS
  let mocks: [MockDevice]
  let devices: [IOMMUFDDevice]

  init(deviceCount: Int = 1, flags: MockDevice.Flags? = nil) throws(KernelError) {
    let ioas = try IOAS(in: IOMMUFDContext())
    self.ioas = ioas
    var mocks: [MockDevice] = []
    for _ in 0..<deviceCount { mocks.append(try MockDevice(attachedTo: ioas, flags: flags)) }
    self.mocks = mocks
    devices = mocks.map { $0.bound(to: ioas) }
    try ioas.refreshAllowedRanges()
  }

  var context: IOMMUFDContext { ioas.context }

  /// Runs a body with the fixture of a variant; one of them leaves the kernel little memory for lists of pages.
  static func run(_ variant: Variant, _ body: (PageTableFixture) throws -> Void) throws {
    let fixture = try PageTableFixture(deviceCount: variant.deviceCount)
    guard variant == .mockDomainWithLimit else { return try body(fixture) }
    try MockIOMMU.withTemporaryMemory(limitedTo: 16, in: fixture.context) { try body(fixture) }
  }

  /// Vendor data of a mock page table.
  static func data(
    iotlb: UInt32 = CMOCK_IOTLB_DEFAULT, isHuge: Bool = false, type: UInt32 = CMOCK_HWPT_DATA_TYPE
  ) -> HWPageTableData {
    HWPageTableData(
      type: type, bytes: littleEndianBytes(iotlb, isHuge ? CMOCK_PAGE_TABLE_HUGE : CMOCK_PAGE_TABLE_DEFAULT))
  }

  /// Requests to invalidate entries of a mock IOTLB.
  static func invalidation(
    _ entries: [(flags: UInt32, index: UInt32)], type: UInt32 = CMOCK_HWPT_INVALIDATE_TYPE
  ) -> CacheInvalidation {
    CacheInvalidation(
      type: type, entryByteCount: 8, bytes: entries.flatMap { littleEndianBytes($0.flags, $0.index) })
  }
}

/// The bytes of words of 32 bits.
func littleEndianBytes(_ words: UInt32...) -> [UInt8] {
  words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
}

/// Calls that the library's types cannot express, because they are wrong.
enum RawCall {
  static func allocateTable(
    in context: IOMMUFDContext, device: IOMMUFDObjectID, parent: IOMMUFDObjectID, flags: UInt32 = 0,
    type: UInt32 = 0, data: [UInt8]? = [], byteCount: Int? = nil, fault: UInt32 = 0
  ) -> Errno? {
    var command = abi_iommu_hwpt_alloc()
    command.flags = flags
    command.dev_id = device.rawValue
    command.pt_id = parent.rawValue
    command.data_type = type
    command.fault_id = fault
    let fd = context.descriptor
    let length = UInt32(byteCount ?? data?.count ?? 0)
    let error = refusal { () throws(KernelError) in
      try kernelCall("IOMMU_HWPT_ALLOC") { () -> CInt in
        if let data { return unsafe abi_iommu_hwpt_alloc(fd, &command, data, length) }
        return unsafe abi_iommu_hwpt_alloc(fd, &command, nil, length)
      }
    }
    if error == nil { _ = abi_iommu_destroy(fd, command.out_hwpt_id) }
    return error
  }

  /// - Returns: The errno, and what the kernel says that it handled.
  static func invalidate(
    _ id: IOMMUFDObjectID, in context: IOMMUFDContext, type: UInt32, entryByteCount: UInt32, count: UInt32,
    _ bytes: [UInt8]?
  ) -> (errno: Errno?, handled: UInt32) {
    var command = abi_iommu_hwpt_invalidate()
    command.hwpt_id = id.rawValue
    command.data_type = type
    command.entry_len = entryByteCount
    command.entry_num = count
    let fd = context.descriptor
    let error = refusal { () throws(KernelError) in
      try kernelCall("IOMMU_HWPT_INVALIDATE") { () -> CInt in
        if let bytes { return unsafe abi_iommu_hwpt_invalidate(fd, &command, bytes) }
        return unsafe abi_iommu_hwpt_invalidate(fd, &command, nil)
      }
    }
    return (error, command.entry_num)
  }
}
