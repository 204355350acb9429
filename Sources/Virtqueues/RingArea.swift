// SPDX-License-Identifier: Apache-2.0

/// Memory of this process in which a part of a ring lies: what the device side is given for each address of the ring.
@safe @frozen
public struct RingArea: @unchecked Sendable {
  @usableFromInline let start: UnsafeMutableRawPointer
  /// Its length.
  public let byteCount: Int

  /// Memory that the caller owns.
  /// - Parameters:
  ///   - start: Stays mapped, for reading and writing, until the last queue over it is gone.
  ///   - byteCount: How much of it belongs to this part of the ring; more than the ring needs does no harm.
  @unsafe
  public init(unsafeStart start: UnsafeMutableRawPointer, byteCount: Int) {
    precondition(byteCount >= 0, "a length is not negative")
    unsafe self.start = start
    self.byteCount = byteCount
  }

  /// - Throws: `badLayout` where it is shorter or less aligned than a part of a ring must be.
  func checked(byteCount wanted: Int, alignment: Int) throws(QueueError) -> UnsafeMutableRawPointer {
    guard byteCount >= wanted else { throw QueueError(.badLayout, value: UInt64(byteCount)) }
    let address = unsafe UInt(bitPattern: start)
    guard address & UInt(alignment - 1) == 0 else { throw QueueError(.badLayout, value: UInt64(address)) }
    return unsafe start
  }
}
