// SPDX-License-Identifier: Apache-2.0
public import DMACore
internal import LinuxHandles
internal import SystemPackage

/// The two windows of a domain's addresses.
///
/// ```
/// 0x0           0x1000            bounceByteCount                   limit
/// │ never used │ streaming:       │ what stays: coherent memory,     │
/// │            │ map and unmap    │ exposures, and setMap            │
/// ```
/// An address is also a place in the domain's file.
public struct IOTLBLayout: Hashable, Sendable {
  /// Where the first window ends and the second begins; two pages at least, whole ones.
  public let bounceByteCount: Int
  /// The last address of the second window; whole pages end there.
  public let limit: IOVA

  /// 64 MiB for streaming mappings, and what is left of 1 GiB.
  public static let usual = IOTLBLayout(bounceByteCount: 64 << 20, limit: IOVA(1 << 30 - 1))

  /// Describes two windows; ``IOTLBDomain/init(_:label:)`` checks them.
  public init(bounceByteCount: Int, limit: IOVA) {
    self.bounceByteCount = bounceByteCount
    self.limit = limit
  }

  /// The greatest length of both windows, in bytes: 16 TiB.
  private static var greatestByteCount: UInt64 { 1 << 44 }

  /// The length of both, in bytes.
  ///
  /// - Throws: `KernelError`: `EINVAL` for windows that are not of whole pages, end before they begin, or are
  ///   longer than 16 TiB.
  func checkedByteCount() throws(KernelError) -> Int {
    let page = UInt64(MemoryPageSize.standard.byteCount)
    guard limit.rawValue < Self.greatestByteCount, (limit.rawValue + 1) % page == 0,
      bounceByteCount >= 2 * Int(page),
      UInt64(bounceByteCount) % page == 0, UInt64(bounceByteCount) <= limit.rawValue
    else {
      throw KernelError(
        operation: "lay out software IOTLB", errno: .invalidArgument,
        subject: "\(bounceByteCount) bytes of bounce window, limit \(limit)",
        remedy: "both windows are of whole pages, the first of two at least, and end below 16 TiB")
    }
    return Int(limit.rawValue + 1)
  }

  /// The streaming window without page 0, whose address looks like none.
  var bounceRange: IOVARange {
    IOVARange(
      start: IOVA(UInt64(MemoryPageSize.standard.byteCount)), last: IOVA(UInt64(bounceByteCount) - 1))
  }

  /// The other window.
  var stayingRange: IOVARange { IOVARange(start: IOVA(UInt64(bounceByteCount)), last: limit) }
}
