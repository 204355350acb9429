// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import LinuxHandles
internal import SystemPackage

/// The number of a region of a PCI device.
/// - Source: `enum` of `VFIO_PCI_*_REGION_INDEX`, include/uapi/linux/vfio.h, Linux 3.6.
public struct VFIORegionIndex: Hashable, Sendable {
  /// The kernel's number.
  public let rawValue: UInt32
  /// Names a region.
  public init(_ rawValue: UInt32) { self.rawValue = rawValue }
  /// The expansion ROM.
  public static var rom: VFIORegionIndex { VFIORegionIndex(ABI_VFIO_PCI_ROM_REGION_INDEX) }
  /// Configuration space.
  public static var configuration: VFIORegionIndex { VFIORegionIndex(ABI_VFIO_PCI_CONFIG_REGION_INDEX) }
  /// The ports and memory that a VGA display has had since the first of them.
  public static var vga: VFIORegionIndex { VFIORegionIndex(ABI_VFIO_PCI_VGA_REGION_INDEX) }
  /// A BAR.
  public static func bar(_ number: Int) -> VFIORegionIndex { VFIORegionIndex(UInt32(number)) }
}

extension VFIORegionIndex: CustomStringConvertible {
  /// Whether it is one of the six BARs.
  var isBAR: Bool { rawValue < ABI_VFIO_PCI_ROM_REGION_INDEX }

  /// `BAR 2`, `ROM`, `VGA`, `region 9`.
  public var description: String {
    switch self {
    case .rom: "ROM"
    case .configuration: "configuration space"
    case .vga: "VGA"
    case _ where isBAR: "BAR \(rawValue)"
    default: "region \(rawValue)"
    }
  }
}

/// The facts of one region of a device.
/// - Source: `struct vfio_region_info`, include/uapi/linux/vfio.h; sparse areas since Linux 4.6.
public struct VFIORegionInfo: Hashable, Sendable {
  /// Which region.
  public let index: VFIORegionIndex
  /// Its length in bytes; 0 where the device has none.
  public let byteCount: UInt64
  /// Where it begins in the device's file, in bytes.
  public let fileOffset: UInt64
  /// Whether it can be read.
  public let isReadable: Bool
  /// Whether it can be written.
  public let isWritable: Bool
  /// The parts that may be mapped, as byte ranges of the region; empty where none may.
  public let mappableAreas: [Range<UInt64>]
  /// Whether the pages of the MSI-X table may be mapped too.
  public let isMSIXMappable: Bool
  /// What the region is for, where it is one beyond the nine that every PCI function has.
  public let type: VFIORegionType?

  init(_ index: VFIORegionIndex, of fd: CInt, subject: String) throws(KernelError) {
    do throws(KernelError) {
      let answer = try unsafe InfoBuffer(
        byteCount: MemoryLayout<abi_vfio_region_info>.size, operation: "VFIO_DEVICE_GET_REGION_INFO",
        subject: "\(subject), region \(index.rawValue)"
      ) { unsafe abi_vfio_device_get_region_info(fd, index.rawValue, $0, $1) }
      self.init(index, answer)
    } catch {
      // Of the nine regions only this one is refused where a function lacks it; the others have 0 bytes then.
      guard index == .vga, error.errno == .invalidArgument else { throw error }
      self.init(index, InfoBuffer([]))
    }
  }

  /// Reads an answer of `VFIO_DEVICE_GET_REGION_INFO` that is here already.
  ///
  /// Nothing in it is trusted: a chain of capabilities that loops or leaves the answer ends, and areas beyond
  /// the region are left out.
  /// - Parameter bytes: `struct vfio_region_info` and what follows it; too short an answer is a region of 0 bytes.
  public init(_ index: VFIORegionIndex, decoding bytes: [UInt8]) { self.init(index, InfoBuffer(bytes)) }

  private init(_ index: VFIORegionIndex, _ answer: InfoBuffer) {
    let head = answer.load(abi_vfio_region_info.self, at: 0) ?? .init()
    self.index = index
    byteCount = head.size
    fileOffset = head.offset
    isReadable = head.flags & ABI_VFIO_REGION_INFO_FLAG_READ != 0
    isWritable = head.flags & ABI_VFIO_REGION_INFO_FLAG_WRITE != 0
    var sparse: [Range<UInt64>]?
    var isMSIXMappable = false
    var type: VFIORegionType?
    if head.flags & ABI_VFIO_REGION_INFO_FLAG_CAPS != 0 {
      for capability in answer.capabilities(from: head.cap_offset) {
        switch UInt32(capability.id) {
        case ABI_VFIO_REGION_INFO_CAP_SPARSE_MMAP:
          sparse = Self.sparseAreas(answer, at: capability.byteOffset, within: head.size)
        case ABI_VFIO_REGION_INFO_CAP_MSIX_MAPPABLE: isMSIXMappable = true
        case ABI_VFIO_REGION_INFO_CAP_TYPE:
          type = answer.load(abi_vfio_region_info_cap_type.self, at: capability.byteOffset)
            .map { VFIORegionType(type: $0.type, subtype: $0.subtype) }
        default: break
        }
      }
    }
    self.isMSIXMappable = isMSIXMappable
    self.type = type
    let isMappable = head.flags & ABI_VFIO_REGION_INFO_FLAG_MMAP != 0 && head.size > 0
    mappableAreas = isMappable ? sparse ?? [0..<head.size] : []
  }

  private static func sparseAreas(
    _ answer: InfoBuffer, at byteOffset: Int, within byteCount: UInt64
  ) -> [Range<UInt64>]? {
    let headSize = MemoryLayout<abi_vfio_region_info_cap_sparse_mmap>.size
    guard let head = answer.load(abi_vfio_region_info_cap_sparse_mmap.self, at: byteOffset) else {
      return nil
    }
    var areas: [Range<UInt64>] = []
    for index in 0..<Int(head.nr_areas) {
      let place = byteOffset + headSize + index * MemoryLayout<abi_vfio_region_sparse_mmap_area>.size
      guard let area = answer.load(abi_vfio_region_sparse_mmap_area.self, at: place) else { break }
      guard area.size > 0, area.offset <= byteCount, area.size <= byteCount - area.offset else { continue }
      areas.append(area.offset..<(area.offset + area.size))
    }
    return areas
  }
}
