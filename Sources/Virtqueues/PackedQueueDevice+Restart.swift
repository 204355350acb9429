// SPDX-License-Identifier: Apache-2.0
internal import CMMIO

extension PackedQueueDevice {
  /// Whether an entry of a ring still is as the driver made it available in a round: no used chain was published there.
  ///
  /// What a server that goes on with a ring needs, where its log may lack what was published last. The driver could have
  /// changed it, to its own harm.
  /// - Parameters:
  ///   - index: Of an entry of the ring; false for one outside of it.
  ///   - wrap: The driver's wrap counter there.
  ///   - descriptors: The ring, at a multiple of 2.
  public static func isAvailable(at index: UInt16, wrap: Bool, in descriptors: RingArea) -> Bool {
    guard (Int(index) + 1) * 16 <= descriptors.byteCount else { return false }
    // SAFETY: the flags are at 14 of the descriptor, which the area has.
    let flags = unsafe cmmio_read16(descriptors.start + Int(index) * 16 + 14)
    return flags & PackedPosition.turn == PackedPosition(index: UInt32(index), wrap: wrap).available
  }
}
