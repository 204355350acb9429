// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

/// An event of a virtual IOMMU, or the news that events were lost.
/// - Source: `struct iommufd_vevent_header`, include/uapi/linux/iommufd.h, Linux 6.15.
public struct VirtualEvent: Hashable, Sendable {
  /// What it tells.
  public enum Content: Hashable, Sendable {
    /// The vendor's event, in the vendor's layout.
    case event([UInt8])
    /// Nothing but that the queue overflowed and nothing came after.
    case overflow
  }

  /// Its number, below 2^31, after which it begins anew.
  public let sequence: UInt32
  /// How many events were lost right before this one; with ``Content/overflow``, up to now.
  public let lostCount: Int
  /// What it tells.
  public let content: Content

  /// An event of Arm's SMMUv3, as its four double words; nil for anything else.
  public var armSMMUv3: [UInt64]? { words(ofByteCount: MemoryLayout<abi_iommu_vevent_arm_smmuv3>.size) }
  /// The map of errors of Tegra241's CMDQV, as its two double words; nil for anything else.
  public var tegra241CMDQV: [UInt64]? {
    words(ofByteCount: MemoryLayout<abi_iommu_vevent_tegra241_cmdqv>.size)
  }

  private func words(ofByteCount byteCount: Int) -> [UInt64]? {
    guard case .event(let bytes) = content, bytes.count == byteCount else { return nil }
    return stride(from: 0, to: byteCount, by: 8).map { start in
      bytes[start..<start + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
  }

  static let headerByteCount = MemoryLayout<abi_iommufd_vevent_header>.size
  /// The number before the first one.
  package static let beforeFirst: UInt32 = 0x7fff_ffff

  /// Events from what was read, which is whole events.
  /// - Parameters:
  ///   - dataByteCount: What follows a header, except that of an overflow.
  ///   - sequence: The number of the event before; set to the last one's.
  package static func events(
    in bytes: ArraySlice<UInt8>, dataByteCount: Int, after sequence: inout UInt32
  ) -> [VirtualEvent] {
    var events: [VirtualEvent] = []
    var start = bytes.startIndex
    while start + headerByteCount <= bytes.endIndex {
      let header = unsafe bytes.withUnsafeBytes {
        // SAFETY: the slice holds a whole header from there on; every bit pattern is one.
        unsafe $0.loadUnaligned(fromByteOffset: start - bytes.startIndex, as: abi_iommufd_vevent_header.self)
      }
      start += headerByteCount
      let isOverflow = header.flags & ABI_IOMMU_VEVENTQ_FLAG_LOST_EVENTS != 0
      // An overflow has the number of the last event that was lost.
      let distance = Int((header.sequence &- sequence) & 0x7fff_ffff)
      sequence = header.sequence
      guard !isOverflow else {
        events.append(VirtualEvent(sequence: header.sequence, lostCount: distance, content: .overflow))
        continue
      }
      let end = min(start + dataByteCount, bytes.endIndex)
      events.append(
        VirtualEvent(
          sequence: header.sequence, lostCount: max(distance - 1, 0),
          content: .event(Array(bytes[start..<end]))))
      start = end
    }
    return events
  }
}
