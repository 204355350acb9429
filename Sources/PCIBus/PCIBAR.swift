// SPDX-License-Identifier: Apache-2.0

/// One base address register of a function: which, what kind, how long, where the kernel put it.
///
/// Source: the `resource` file of sysfs (`resource_show()`, drivers/pci/pci-sysfs.c) and the flags of
/// include/linux/ioport.h.
public struct PCIBAR: Hashable, Sendable {
  /// The number of a base address register, 0 to 5.
  public struct Index: RawRepresentable, Hashable, Comparable, Sendable, CaseIterable {
    /// 0 to 5.
    public let rawValue: Int
    /// Nil outside of 0 to 5.
    public init?(rawValue: Int) {
      guard (0...5).contains(rawValue) else { return nil }
      self.rawValue = rawValue
    }
    private init(_ rawValue: Int) { self.rawValue = rawValue }
    /// BAR 0.
    public static let bar0 = Index(0)
    /// BAR 1.
    public static let bar1 = Index(1)
    /// BAR 2.
    public static let bar2 = Index(2)
    /// BAR 3.
    public static let bar3 = Index(3)
    /// BAR 4.
    public static let bar4 = Index(4)
    /// BAR 5.
    public static let bar5 = Index(5)
    /// All six, in order.
    public static let allCases = [bar0, bar1, bar2, bar3, bar4, bar5]
    /// By number.
    public static func < (left: Index, right: Index) -> Bool { left.rawValue < right.rawValue }
  }

  /// What a BAR decodes.
  public enum Kind: Hashable, Sendable {
    /// Memory below 4 GiB.
    case memory32
    /// Memory anywhere; the next index belongs to it.
    case memory64
    /// I/O ports.
    case io
  }

  /// An address of the host's physical address space, or an I/O port.
  public struct HostAddress: RawRepresentable, Hashable, Sendable {
    /// The number.
    public let rawValue: UInt64
    /// Takes the number as it is.
    public init(rawValue: UInt64) { self.rawValue = rawValue }
  }

  /// Which register.
  public let index: Index
  /// What it decodes.
  public let kind: Kind
  /// Whether reads have no side effects and writes may be merged.
  public let isPrefetchable: Bool
  /// Its length in bytes; a power of two.
  public let byteCount: UInt64
  /// Where the kernel put it; nil where it found no room, and then it decodes nothing.
  public let hostAddress: HostAddress?

  /// Creates a description from its parts.
  public init(index: Index, kind: Kind, isPrefetchable: Bool, byteCount: UInt64, hostAddress: HostAddress?) {
    self.index = index
    self.kind = kind
    self.isPrefetchable = isPrefetchable
    self.byteCount = byteCount
    self.hostAddress = hostAddress
  }
}

extension PCIBAR.Index: CustomStringConvertible {
  /// `BAR2`.
  public var description: String { "BAR\(rawValue)" }
}

extension PCIBAR {
  /// Reads the first six lines `START END FLAGS` of a `resource` file; lines that say nothing are left out.
  static func all(fromResourceFile text: String) -> [PCIBAR] {
    zip(Index.allCases, text.split(separator: "\n")).compactMap { index, line in
      PCIBAR(index, resourceLine: line)
    }
  }

  private init?(_ index: Index, resourceLine line: Substring) {
    let numbers = line.split(separator: " ").compactMap { field in
      field.hasPrefix("0x") ? UInt64(field.dropFirst(2), radix: 16) : nil
    }
    // IORESOURCE_IO, _MEM, _PREFETCH, _MEM_64, _UNSET of include/linux/ioport.h
    let (io, memory, prefetch, wide, unset): (UInt64, UInt64, UInt64, UInt64, UInt64) = (
      0x100, 0x200, 0x2000, 0x10_0000, 0x2000_0000
    )
    guard numbers.count == 3, numbers[2] & (io | memory) != 0, numbers[1] >= numbers[0] else { return nil }
    let (start, last, flags) = (numbers[0], numbers[1], numbers[2])
    let (byteCount, overflow) = (last - start).addingReportingOverflow(1)
    guard !overflow else { return nil }
    self.init(
      index: index,
      kind: flags & io != 0 ? .io : flags & wide != 0 ? .memory64 : .memory32,
      isPrefetchable: flags & prefetch != 0,
      byteCount: byteCount,
      hostAddress: flags & unset != 0 || start == 0 ? nil : HostAddress(rawValue: start))
  }
}
