// SPDX-License-Identifier: Apache-2.0
public import DMACore

/// A transfer of a device that was blocked: no byte of it was moved.
public struct DMAFault: Hashable, Sendable {
  /// Why a transfer is blocked.
  public enum Reason: Hashable, Sendable {
    /// Nothing is mapped where it begins.
    case unmapped
    /// It begins in a mapping and passes its end. (Hardware would let it run on into an adjacent mapping;
    /// a driver that means that maps both as one.)
    case pastTheEnd
    /// The mapping does not allow the direction.
    case notAllowed
    /// The function's bus master bit is off.
    case busMasterOff
  }

  /// Where it begins.
  public let iova: IOVA
  /// Its length in bytes.
  public let byteCount: Int
  /// What the device wanted: `.read` or `.write`.
  public let access: DMAAccess
  /// Why it was blocked.
  public let reason: Reason

  /// Describes a fault.
  public init(iova: IOVA, byteCount: Int, access: DMAAccess, reason: Reason) {
    self.iova = iova
    self.byteCount = byteCount
    self.access = access
    self.reason = reason
  }
}

extension DMAFault: CustomStringConvertible {
  /// One line: direction, place, reason.
  public var description: String {
    "\(access == .write ? "write" : "read") of \(byteCount) bytes at \(iova): \(reason)"
  }
}
