// SPDX-License-Identifier: Apache-2.0

/// A chain that comes back to the driver.
@frozen
public struct UsedChain: Hashable, Sendable {
  /// What the driver named it when it added it.
  public let token: UInt64
  /// How many bytes the device says that it wrote, from the first writable one on; never more than there is room for.
  public let writtenByteCount: UInt32

  @inlinable
  init(token: UInt64, writtenByteCount: UInt32) {
    self.token = token
    self.writtenByteCount = writtenByteCount
  }
}
