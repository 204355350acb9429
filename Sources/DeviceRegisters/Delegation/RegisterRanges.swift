// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import LinuxHandles
internal import SystemPackage

/// Parts of a region that are given to somebody else: whole pages, who sees them one after the other.
///
/// Whoever holds them counts from 0 to ``byteCount`` and reaches nothing besides.
public struct RegisterRanges: Hashable, Sendable {
  /// The parts, in bytes of the region, in the order in which they are seen.
  public let ranges: [Range<Int>]
  /// Their length together, in bytes.
  public let byteCount: Int

  /// The most parts that one list has.
  public static var most: Int { 4095 }

  /// The unit of all parts, in bytes.
  public static var pageByteCount: Int { sysconf(CInt(_SC_PAGESIZE)) }

  /// Checks a list as the kernel does for a dma-buf.
  /// - Parameters:
  ///   - ranges: At least one, none empty, of whole pages. They may overlap.
  ///   - regionByteCount: The length of the region.
  ///   - region: For errors.
  /// - Throws: `KernelError`: `EINVAL`.
  public init(_ ranges: [Range<Int>], within regionByteCount: Int, of region: String) throws(KernelError) {
    let page = Self.pageByteCount
    var total = 0
    var isGood = (1...Self.most).contains(ranges.count)
    for range in ranges {
      let (sum, overflow) = total.addingReportingOverflow(range.count)
      isGood =
        isGood && !overflow && !range.isEmpty && range.lowerBound >= 0 && range.upperBound <= regionByteCount
        && range.lowerBound % page == 0 && range.upperBound % page == 0
      total = sum
    }
    guard isGood else {
      throw KernelError(
        operation: "choose registers", errno: .invalidArgument, subject: "\(region), \(ranges)",
        remedy: "1 to \(Self.most) parts, none empty, of whole pages (\(page) bytes) of the region's "
          + "\(regionByteCount) bytes")
    }
    self.ranges = ranges
    byteCount = total
  }

  /// Where in the region a word lies that its holder sees at `byteOffset`; nil where it is not his.
  ///
  /// A word at a multiple of its width never crosses the end of a part.
  func place(of byteOffset: Int, byteWidth: Int) -> Int? {
    guard byteOffset >= 0, byteOffset < byteCount, byteOffset % byteWidth == 0 else { return nil }
    var rest = byteOffset
    for range in ranges {
      if rest < range.count { return range.lowerBound + rest }
      rest -= range.count
    }
    return nil
  }
}
