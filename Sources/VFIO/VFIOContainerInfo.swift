// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
internal import LinuxHandles

/// What a container's IOMMU can do, after `VFIO_SET_IOMMU`.
/// - Source: `struct vfio_iommu_type1_info` and its capabilities, include/uapi/linux/vfio.h; the ranges since
///   Linux 5.4, the log of dirty pages since 5.8, the number of mappings since 5.10.
public struct VFIOContainerInfo: Hashable, Sendable {
  /// Page sizes that the IOMMU maps, as a bitmap of bytes.
  public let pageSizes: UInt64
  /// The addresses that may be used.
  ///
  /// Without the capability: everything the kernel may accept.
  public let allowedRanges: [IOVARange]
  /// How many further mappings the container takes; nil where the kernel does not say.
  public let availableMappings: Int?
  /// The log of dirty pages; nil where there is none.
  public let dirtyLog: DirtyLog?
  /// The numbers of capabilities that this version does not know, in the kernel's order.
  public let otherCapabilities: [Int]

  /// What the log of dirty pages can do.
  /// - Source: `struct vfio_iommu_type1_info_cap_migration`, include/uapi/linux/vfio.h, Linux 5.8.
  public struct DirtyLog: Hashable, Sendable {
    /// Page sizes that it may count in, as a bitmap of bytes.
    public let pageSizes: UInt64
    /// The longest bitmap of one question, in bytes.
    public let maximumBitmapByteCount: UInt64

    /// The smallest of the sizes, in bytes: the one that the kernel takes; 0 where it names none.
    public var pageByteCount: Int { pageSizes == 0 ? 0 : 1 << min(pageSizes.trailingZeroBitCount, 62) }
  }

  init(of fd: CInt, subject: String) throws(KernelError) {
    let answer = try unsafe InfoBuffer(
      byteCount: MemoryLayout<abi_vfio_iommu_type1_info>.size, operation: "VFIO_IOMMU_GET_INFO",
      subject: subject
    ) { unsafe abi_vfio_iommu_get_info(fd, $0, $1) }
    self.init(answer)
  }

  /// Reads an answer of `VFIO_IOMMU_GET_INFO` that is here already; nothing in it is trusted.
  /// - Parameter bytes: `struct vfio_iommu_type1_info` and what follows it.
  public init(decoding bytes: [UInt8]) { self.init(InfoBuffer(bytes)) }

  private init(_ answer: InfoBuffer) {
    let head = answer.load(abi_vfio_iommu_type1_info.self, at: 0) ?? .init()
    pageSizes = head.flags & ABI_VFIO_IOMMU_INFO_PGSIZES != 0 ? head.iova_pgsizes : 0
    var ranges: [IOVARange]?
    var available: Int?
    var log: DirtyLog?
    var others: [Int] = []
    if head.flags & ABI_VFIO_IOMMU_INFO_CAPS != 0 {
      for capability in answer.capabilities(from: head.cap_offset) {
        switch UInt32(capability.id) {
        case ABI_VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE:
          ranges = Self.ranges(answer, at: capability.byteOffset)
        case ABI_VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL:
          available = answer.load(abi_vfio_iommu_type1_info_dma_avail.self, at: capability.byteOffset)
            .map { Int($0.avail) }
        case ABI_VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION:
          log = answer.load(abi_vfio_iommu_type1_info_cap_migration.self, at: capability.byteOffset)
            .map { DirtyLog(pageSizes: $0.pgsize_bitmap, maximumBitmapByteCount: $0.max_dirty_bitmap_size) }
        default: others.append(Int(capability.id))
        }
      }
    }
    // Before Linux 5.4 the kernel tells nothing; 39 bits is the least that a VT-d unit translates, and the
    // interrupt window of x86 is left out.
    allowedRanges =
      ranges ?? [
        IOVARange(start: IOVA(0), last: IOVA(0xfedf_ffff)),
        IOVARange(start: IOVA(0xfef0_0000), last: IOVA((1 << 39) - 1)),
      ]
    availableMappings = available
    dirtyLog = log
    otherCapabilities = others
  }

  private static func ranges(_ answer: InfoBuffer, at byteOffset: Int) -> [IOVARange]? {
    let headSize = MemoryLayout<abi_vfio_iommu_type1_info_cap_iova_range>.size
    guard let head = answer.load(abi_vfio_iommu_type1_info_cap_iova_range.self, at: byteOffset) else {
      return nil
    }
    var ranges: [IOVARange] = []
    for index in 0..<Int(head.nr_iovas) {
      let place = byteOffset + headSize + index * MemoryLayout<abi_vfio_iova_range>.size
      guard let range = answer.load(abi_vfio_iova_range.self, at: place), range.start <= range.end else {
        break
      }
      ranges.append(IOVARange(start: IOVA(range.start), last: IOVA(range.end)))
    }
    return ranges
  }
}
