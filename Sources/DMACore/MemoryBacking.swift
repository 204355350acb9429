// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// How large the pages behind memory are.
public enum MemoryPageSize: Hashable, Sendable {
  /// The system's ordinary pages.
  case standard
  /// Ordinary pages at an alignment where the kernel can put huge pages of 2 MiB in their place, and is asked to.
  case transparent2MiB
  /// Reserved huge pages of 2 MiB.
  case huge2MiB
  /// Reserved huge pages of 1 GiB.
  case huge1GiB

  /// Largest first: what most devices and the IOMMU like best.
  public static let cascade: [MemoryPageSize] = [.huge1GiB, .huge2MiB, .transparent2MiB, .standard]

  /// In bytes.
  public var byteCount: Int {
    switch self {
    case .standard: Int(sysconf(CInt(_SC_PAGESIZE)))
    case .transparent2MiB, .huge2MiB: 1 << 21
    case .huge1GiB: 1 << 30
    }
  }

  /// For the kernel: 0 where no huge page is reserved for it.
  var reservedLog2: Int {
    switch self {
    case .standard, .transparent2MiB: 0
    case .huge2MiB: 21
    case .huge1GiB: 30
    }
  }
}

/// What memory was obtained from.
public struct MemoryBacking: Hashable, Sendable {
  /// Whose pages they are.
  public enum Kind: Hashable, Sendable {
    /// This process's own.
    case anonymous
    /// A memory file's (`memfd`), which can be mapped into another process or by `IOAS_MAP_FILE`. Its size is
    /// sealed: nobody can truncate it under a device.
    case file
    /// Mapped by somebody else, and adopted.
    case adopted
  }

  /// Whose pages they are.
  public let kind: Kind
  /// How large they are.
  ///
  /// Whether the kernel did what `transparent2MiB` asks for, is told by ``MemoryFacts``.
  public let pageSize: MemoryPageSize
}
