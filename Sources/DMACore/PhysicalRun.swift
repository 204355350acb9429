// SPDX-License-Identifier: Apache-2.0
package import LinuxHandles
internal import SystemPackage

/// Bytes that lie in one piece in physical memory.
public struct PhysicalRun: Hashable, Sendable {
  /// Where they begin.
  public let start: PhysicalAddress
  /// How many there are.
  public internal(set) var byteCount: Int

  /// Puts a run together.
  public init(start: PhysicalAddress, byteCount: Int) {
    self.start = start
    self.byteCount = byteCount
  }
}

extension PhysicalRun: CustomStringConvertible {
  /// In hexadecimal: `0x1000, 8192 bytes`.
  public var description: String { "0x\(String(start.rawValue, radix: 16)), \(byteCount) bytes" }
}

extension [PhysicalRun] {
  /// Adds a piece behind the others, joined to the last one where they touch.
  package mutating func append(_ start: PhysicalAddress, byteCount: Int) {
    if let end = last, end.start.rawValue + UInt64(end.byteCount) == start.rawValue {
      self[count - 1].byteCount += byteCount
    } else {
      append(PhysicalRun(start: start, byteCount: byteCount))
    }
  }

  /// The address that a device must use where nothing translates, for all bytes as one piece.
  /// - Throws: `KernelError` `EINVAL` where they lie in several.
  package func busAddress(in space: String) throws(KernelError) -> IOVA {
    if let only = first, count == 1 { return IOVA(only.start.rawValue) }
    throw KernelError(
      operation: "expose", errno: .invalidArgument, subject: space,
      remedy:
        "the memory lies in \(count) pieces of physical memory, and without an IOMMU a device sees them as "
        + "they lie; expose single pages, or memory of huge pages (pageSize: .huge2MiB, or .huge1GiB)")
  }
}
