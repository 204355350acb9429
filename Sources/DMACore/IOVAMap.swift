// SPDX-License-Identifier: Apache-2.0
public import Synchronization

/// Which mapping an address belongs to: a table from pages of I/O virtual addresses to numbers of mappings.
///
/// Look-ups take no lock, and the same few steps with one mapping or a million. They may go on while another
/// thread inserts or removes: each page is seen as it was before or after. What is written to a slot before
/// its insertion is seen by whoever finds it. When a slot may be reused after a removal is for the caller to
/// know: a look-up may have found it just before.
///
/// Below 2^48 there are two levels: a root of 2^20 words, and leaves that cover 256 MiB with a word for each
/// 4 KiB. Above, a third level holds a root for each 2^48 addresses, and a look-up costs some steps more. A
/// part of 256 MiB that one mapping covers needs no leaf. Tables are made when first needed and freed with
/// the map, never before.
///
/// Memory: 8 MiB of address space for each root and 256 KiB for each leaf, of which the kernel gives pages only
/// where words were written: about 1/1024 of what is mapped, and 8 KiB more for each mapping that lies alone.
@safe @frozen
public struct IOVAMap: ~Copyable, @unchecked Sendable {
  /// Why nothing was inserted or removed.
  @frozen
  public enum Failure: Error, Hashable, Sendable {
    /// The range does not begin and end with a page.
    case misaligned
    /// The range is longer than ``IOVAMap/greatestByteCount``.
    case tooLong
    /// A page of the range belongs to a mapping.
    case overlaps
    /// The range is not one mapping, both ends alike.
    case notMapped
  }

  /// The unit of the map, in bytes: the smallest page of any IOMMU.
  @inlinable public static var pageByteCount: UInt64 { 4096 }

  /// The longest mapping, in bytes: 16 TiB.
  ///
  /// It bounds the time and the tables that one insertion takes.
  @inlinable public static var greatestByteCount: UInt64 { 1 << 44 }

  @inlinable static var pageShift: UInt64 { 12 }
  @inlinable static var leafShift: UInt64 { 28 }
  @inlinable static var rootShift: UInt64 { 48 }
  @inlinable static var leafCount: Int { 1 << 16 }
  @inlinable static var rootCount: Int { 1 << 20 }

  /// For addresses below 2^48.
  ///
  /// A word is 0, the address of a leaf, or odd: then its upper half is what each
  /// word of a leaf would be.
  @usableFromInline let root: UnsafeMutablePointer<Atomic<UInt64>>
  /// For those above: the addresses of further roots, by the upper 16 bits; none at 0.
  @usableFromInline let upper: UnsafeMutablePointer<Atomic<UInt64>>
  let tables: Mutex<IOVAMapTables>

  /// Makes an empty map.
  public init() {
    var tables = IOVAMapTables()
    unsafe root = tables.make(Atomic<UInt64>.self, count: Self.rootCount)
    unsafe upper = tables.make(Atomic<UInt64>.self, count: 1 << 16)
    self.tables = Mutex(tables)
  }

  /// The slot of the mapping that an address belongs to; nil for none.
  ///
  /// Takes no lock.
  @inlinable @inline(__always) @_noLocks
  public borrowing func slot(at iova: IOVA) -> UInt32? {
    let address = iova.rawValue
    if _slowPath(address &>> Self.rootShift != 0) { return slotAbove(address) }
    // SAFETY: tables have as many words as the masked index can name, and live as long as the map.
    return unsafe Self.slot(at: address, in: root)
  }

  @inlinable @inline(never) @_noLocks
  borrowing func slotAbove(_ address: UInt64) -> UInt32? {
    // SAFETY: 2^16 words, one for each value of the upper 16 bits.
    let word = unsafe upper[Int(address &>> Self.rootShift)].load(ordering: .acquiring)
    guard let root = unsafe UnsafeMutablePointer<Atomic<UInt64>>(bitPattern: UInt(word)) else { return nil }
    return unsafe Self.slot(at: address, in: root)
  }

  @unsafe @inlinable @inline(__always) @_noLocks
  static func slot(at address: UInt64, in root: UnsafeMutablePointer<Atomic<UInt64>>) -> UInt32? {
    let index = Int(truncatingIfNeeded: address &>> leafShift) & (rootCount &- 1)
    let word = unsafe root[index].load(ordering: .acquiring)
    var value = UInt32(truncatingIfNeeded: word &>> 32)
    if word & 1 == 0 {
      guard let leaf = unsafe UnsafeMutablePointer<Atomic<UInt32>>(bitPattern: UInt(word)) else { return nil }
      let place = Int(truncatingIfNeeded: address &>> pageShift) & (leafCount &- 1)
      value = unsafe leaf[place].load(ordering: .acquiring)
    }
    return value == 0 ? nil : value &- 1
  }
}
