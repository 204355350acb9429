// SPDX-License-Identifier: Apache-2.0
public import DMACore

/// One streaming mapping: where the device finds a buffer's bytes.
///
/// A value that names the mapping and does not own it: `unmap` ends it, and refuses a name that is not one.
@frozen
public struct BounceSlot: Hashable, Sendable {
  /// The device's address of the first byte; as far into its page as the buffer's is.
  public let iova: IOVA
  /// The length in bytes.
  public let byteCount: Int
  /// Which way the bytes go.
  public let direction: DMADirection

  /// Names a mapping.
  @inlinable
  public init(iova: IOVA, byteCount: Int, direction: DMADirection) {
    self.iova = iova
    self.byteCount = byteCount
    self.direction = direction
  }
}

extension BounceSlot: CustomStringConvertible {
  /// One line: `4096 bytes at 0x1000, toDevice`.
  public var description: String { "\(byteCount) bytes at \(iova), \(direction)" }
}
