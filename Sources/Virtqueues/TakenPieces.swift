// SPDX-License-Identifier: Apache-2.0
internal import DMACore

/// The pieces of the chain that a device's side took last.
@safe @frozen @usableFromInline
struct TakenPieces: ~Copyable {
  @usableFromInline let table: QueueTable<QueueSegment>
  /// How many pieces a chain may have.
  @usableFromInline let limit: UInt32
  @usableFromInline var count: UInt32 = 0

  init(limit: Int) {
    precondition((1...65535).contains(limit), "a chain has 1 to 65535 pieces")
    table = QueueTable(
      repeating: QueueSegment(iova: IOVA(0), byteCount: 0, isWritable: false), count: limit)
    self.limit = UInt32(limit)
  }

  @inlinable
  subscript(index: Int) -> QueueSegment {
    @inline(__always) get {
      precondition(index >= 0 && index < Int(count), "a piece of the chain that was taken last")
      return table[UInt32(truncatingIfNeeded: index)]
    }
  }
}
