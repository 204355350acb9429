// SPDX-License-Identifier: Apache-2.0

/// How many further mappings a container takes: what VFIO tells as `availableMappings`, kept in advance.
/// - Source: `VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL`, include/uapi/linux/vfio.h, Linux 5.10.
public struct MappingBudget: Hashable, Sendable {
  /// More mappings than a container takes.
  public struct Shortage: Error, Hashable, Sendable, CustomStringConvertible {
    /// How many are wanted.
    public let needed: Int
    /// How many are left.
    public let available: Int

    /// With what helps.
    public var description: String {
      "needed \(needed) mappings, \(available) left: map fewer, larger ranges (one for a whole pool), or raise "
        + "dma_entry_limit of vfio_iommu_type1 (65535 by default)"
    }
  }

  /// How many are left; nil where the kernel sets no limit, or does not tell.
  public private(set) var available: Int?

  /// Starts with what the kernel told.
  public init(available: Int?) { self.available = available }

  /// Takes some.
  /// - Throws: `Shortage`; nothing is taken then.
  public mutating func take(_ count: Int = 1) throws(Shortage) {
    precondition(count >= 0, "mappings are counted from 0")
    guard let left = available else { return }
    guard count <= left else { throw Shortage(needed: count, available: left) }
    available = left - count
  }

  /// Gives some back.
  public mutating func giveBack(_ count: Int = 1) {
    precondition(count >= 0, "mappings are counted from 0")
    if let left = available { available = left + count }
  }
}
