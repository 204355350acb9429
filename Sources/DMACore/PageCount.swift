// SPDX-License-Identifier: Apache-2.0

/// A number of pages, which is never taken for a number of bytes.
@frozen
public struct PageCount: Hashable, Comparable, Sendable {
  /// The number.
  public let rawValue: Int

  /// Counts pages.
  /// - Parameter rawValue: Not negative.
  @inlinable
  public init(_ rawValue: Int) {
    precondition(rawValue >= 0, "pages are counted from 0")
    self.rawValue = rawValue
  }

  /// How many pages a number of bytes takes, the last one perhaps in part.
  public init(holding byteCount: Int, of size: MemoryPageSize = .standard) {
    precondition(byteCount >= 0, "bytes are counted from 0")
    let unit = size.byteCount
    rawValue = byteCount / unit + (byteCount % unit == 0 ? 0 : 1)
  }

  /// Their length in bytes; nil where it does not fit.
  public func byteCount(of size: MemoryPageSize = .standard) -> Int? {
    let (byteCount, overflow) = rawValue.multipliedReportingOverflow(by: size.byteCount)
    return overflow ? nil : byteCount
  }

  /// Order of the numbers.
  @inlinable
  public static func < (left: PageCount, right: PageCount) -> Bool { left.rawValue < right.rawValue }
}

extension PageCount: CustomStringConvertible {
  /// `3 pages`.
  public var description: String { rawValue == 1 ? "1 page" : "\(rawValue) pages" }
}
