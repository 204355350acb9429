// SPDX-License-Identifier: Apache-2.0

/// How many further mappings a container takes: what VFIO tells as `availableMappings`, kept in advance.
/// - Source: `VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL`, include/uapi/linux/vfio.h, Linux 5.10.
public struct MappingBudget: Hashable, Sendable {
  /// More mappings than a container takes.
  public struct Shortage: Error, Hashable, Sendable, CustomStringConvertible {
    /// How many are wanted.
    public let needed: Int
    /// How many there are.
    public let used: Int
    /// How many are left.
    public let available: Int
    /// How many there may be.
    public var limit: Int { used + available }

    /// Puts the numbers together.
    public init(needed: Int, used: Int, available: Int) {
      self.needed = needed
      self.used = used
      self.available = available
    }

    /// The numbers, and what would help.
    public var description: String {
      "mappings: needed \(needed), used \(used), limit \(limit); map fewer, larger ranges (one for a whole "
        + "pool), or raise dma_entry_limit of vfio_iommu_type1 (65535 by default) before the container is opened"
    }
  }

  /// How many are left; nil where the kernel sets no limit, or does not tell.
  public private(set) var available: Int?
  /// How many there are.
  public private(set) var used: Int

  /// Starts with what the kernel told.
  /// - Parameters:
  ///   - available: How many are left; nil for no limit.
  ///   - used: How many there are, for messages.
  public init(available: Int?, used: Int = 0) {
    self.available = available
    self.used = used
  }

  /// Takes some.
  /// - Throws: `Shortage`; nothing is taken then.
  public mutating func take(_ count: Int = 1) throws(Shortage) {
    precondition(count >= 0, "mappings are counted from 0")
    if let left = available {
      guard count <= left else { throw Shortage(needed: count, used: used, available: left) }
      available = left - count
    }
    used += count
  }

  /// Gives some back.
  public mutating func giveBack(_ count: Int = 1) {
    precondition(count >= 0, "mappings are counted from 0")
    if let left = available { available = left + count }
    used -= count
  }
}
