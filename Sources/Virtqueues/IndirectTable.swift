// SPDX-License-Identifier: Apache-2.0
public import DMACore

/// A table of descriptors in the driver's memory, found and measured.
@safe @frozen @usableFromInline
struct IndirectTable {
  @usableFromInline let start: UnsafeRawPointer
  /// How many descriptors it has; 1 to 65536.
  @usableFromInline let count: UInt32

  /// Finds the table that a descriptor refers to.
  /// - Parameter index: Of that descriptor, for the error.
  @inlinable
  init<Translator: IOVATranslator & ~Copyable>(
    address: UInt64, byteCount: UInt32, of index: UInt32, through translator: borrowing Translator
  ) throws(QueueError) {
    // More than 2^16 descriptors have no index.
    guard byteCount != 0, byteCount & 15 == 0, byteCount <= 16 &<< 16 else {
      throw QueueError(.indirectLength, at: index, value: UInt64(byteCount))
    }
    // The specification asks for no alignment; a driver that puts the table at an odd address, which none is known to
    // do, would make each of its loads two.
    guard address & 7 == 0, !address.addingReportingOverflow(UInt64(byteCount) &- 1).overflow,
      let start = unsafe translator.readableBytes(at: IOVA(address), byteCount: Int(byteCount)),
      UInt(bitPattern: start) & 7 == 0
    else { throw QueueError(.indirectUnmapped, at: index, value: address) }
    unsafe self.start = start
    count = byteCount &>> 4
  }
}
