// SPDX-License-Identifier: Apache-2.0
public import CMMIO

/// One descriptor as it was at one moment: each half is read once, and nothing is asked for again.
///
/// Of a split ring: address 64, length 32, flags 16, next 16. Of a packed one: address 64, length 32, buffer ID 16,
/// flags 16.
/// - Source: virtio 1.2, sections 2.7.5 and 2.8.
@frozen @usableFromInline
struct RingDescriptor {
  @usableFromInline let address: UInt64
  @usableFromInline let rest: UInt64

  /// Reads the descriptor at a place within the table.
  @inlinable @inline(__always)
  init(_ table: UnsafeRawPointer, _ index: UInt32) {
    // SAFETY: the caller has compared the index with the table's length.
    let place = unsafe table + Int(truncatingIfNeeded: index) &* 16
    unsafe address = cmmio_read64(place)
    unsafe rest = cmmio_read64(place + 8)
  }

  @inlinable var byteCount: UInt32 { UInt32(truncatingIfNeeded: rest) }
  @inlinable var splitFlags: UInt16 { UInt16(truncatingIfNeeded: rest &>> 32) }
  @inlinable var splitNext: UInt16 { UInt16(truncatingIfNeeded: rest &>> 48) }
  @inlinable var packedID: UInt16 { UInt16(truncatingIfNeeded: rest &>> 32) }
  @inlinable var packedFlags: UInt16 { UInt16(truncatingIfNeeded: rest &>> 48) }
}

/// The bits of a descriptor's flags.
/// - Source: virtio 1.2, sections 2.7.5 and 2.8.
@usableFromInline
enum DescriptorFlags {
  /// The chain goes on.
  @inlinable static var next: UInt16 { 1 << 0 }
  /// The device writes the piece.
  @inlinable static var write: UInt16 { 1 << 1 }
  /// The piece is a table of descriptors.
  @inlinable static var indirect: UInt16 { 1 << 2 }
  /// Packed: with ``used``, whose turn it is.
  @inlinable static var available: UInt16 { 1 << 7 }
  /// Packed: with ``available``, whose turn it is.
  @inlinable static var used: UInt16 { 1 << 15 }
}
