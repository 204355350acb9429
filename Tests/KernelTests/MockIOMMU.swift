// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage

/// What tests ask of the kernel's mock IOMMU, and what is known of it.
enum MockIOMMU {
  /// What page tables of the default kind translate.
  static let aperture = IOVARange(start: IOVA(CMOCK_APERTURE_START), last: IOVA(CMOCK_APERTURE_LAST))
  /// Its page size, which is below the processor's.
  static let pageByteCount = Int(CMOCK_PAGE_BYTE_COUNT)
  /// The size of its large pages.
  static let hugePageByteCount = Int(CMOCK_HUGE_PAGE_BYTE_COUNT)

  /// Checks that a page table leads to the same pages as memory of this process; `EINVAL` where not.
  static func checkMap(
    _ iova: IOVA, _ memory: UnsafeRawBufferPointer, of table: IOMMUFDObjectID, in context: IOMMUFDContext
  ) throws(KernelError) {
    let fd = context.descriptor
    try kernelCall("IOMMU_TEST_OP_MD_CHECK_MAP", on: "\(iova)") {
      unsafe cmock_check_map(fd, table.rawValue, iova.rawValue, UInt64(memory.count), memory.baseAddress)
    }
  }

  /// Checks how often each page is pinned; `EIO` where it differs.
  static func checkPins(
    _ memory: UnsafeRawBufferPointer, are pins: UInt32, in context: IOMMUFDContext
  ) throws(KernelError) {
    let fd = context.descriptor
    try kernelCall("IOMMU_TEST_OP_MD_CHECK_REFS") {
      unsafe cmock_check_pins(fd, memory.baseAddress, UInt64(memory.count), pins)
    }
  }

  /// Checks an entry of a nested page table's IOTLB; `EINVAL` where it differs.
  static func checkIOTLB(
    _ index: Int, is value: UInt32, of table: IOMMUFDObjectID, in context: IOMMUFDContext
  ) throws(KernelError) {
    let fd = context.descriptor
    try kernelCall("IOMMU_TEST_OP_MD_CHECK_IOTLB") {
      cmock_check_iotlb(fd, table.rawValue, UInt32(index), value)
    }
  }

  /// Marks pages as written by a device.
  /// - Parameter bitmap: A bit for each page.
  /// - Returns: How many.
  @discardableResult
  static func markDirty(
    _ range: IOVARange, pageByteCount: Int, bitmap: [UInt64], of table: IOMMUFDObjectID,
    in context: IOMMUFDContext
  ) throws(KernelError) -> Int {
    let (fd, byteCount) = (context.descriptor, range.byteCountMinusOne + 1)
    precondition(UInt64(bitmap.count * 64 * pageByteCount) >= byteCount, "a bit for each page")
    var marked: UInt64 = 0
    try kernelCall("IOMMU_TEST_OP_DIRTY", on: "\(range)") {
      unsafe cmock_mark_dirty(
        fd, table.rawValue, range.start.rawValue, byteCount, UInt64(pageByteCount), bitmap, &marked)
    }
    return Int(marked)
  }

  /// Reserves addresses of an address space for good.
  static func reserve(_ start: IOVA, byteCount: UInt64, of ioas: IOAS) throws(KernelError) {
    let fd = ioas.context.descriptor
    try kernelCall("IOMMU_TEST_OP_ADD_RESERVED", on: "\(start)") {
      cmock_add_reserved(fd, ioas.id.rawValue, start.rawValue, byteCount)
    }
  }

  /// Runs a body while the kernel's lists of pages may take so little memory that they need several rounds.
  static func withTemporaryMemory<Result>(
    limitedTo byteCount: Int, in context: IOMMUFDContext, _ body: () throws -> Result
  ) throws -> Result {
    let fd = context.descriptor
    try kernelCall("IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT") {
      cmock_limit_temporary_memory(fd, UInt32(byteCount))
    }
    defer { _ = cmock_limit_temporary_memory(fd, 65536) }
    return try body()
  }

  /// A dma-buf of kernel memory.
  ///
  /// No other thread may open anything meanwhile: the kernel forgets to answer the descriptor (7.3).
  static func dmaBuf(byteCount: Int, in context: IOMMUFDContext) throws(KernelError) -> OwnedDescriptor {
    let fd = context.descriptor
    return OwnedDescriptor(
      adopting: try kernelCall("IOMMU_TEST_OP_DMABUF_GET") { cmock_dma_buf(fd, UInt32(byteCount)) })
  }

  /// Revokes a dma-buf of ``dmaBuf(byteCount:in:)``, or ends that.
  static func setRevoked(
    _ isRevoked: Bool, _ dmaBuf: borrowing OwnedDescriptor, in context: IOMMUFDContext
  ) throws(KernelError) {
    let (fd, number) = (context.descriptor, dmaBuf.rawValue)
    try kernelCall("IOMMU_TEST_OP_DMABUF_REVOKE") { cmock_dma_buf_revoke(fd, number, isRevoked ? 1 : 0) }
  }
}

extension IOMMUFDContext {
  /// Destroys any object: for those of the test interface, and for calls that must fail.
  func destroyForTest(_ id: IOMMUFDObjectID) throws(KernelError) {
    let fd = descriptor
    try kernelCall("IOMMU_DESTROY", on: "\(id)") { abi_iommu_destroy(fd, id.rawValue) }
  }
}
