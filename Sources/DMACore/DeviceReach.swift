// SPDX-License-Identifier: Apache-2.0

/// Where the memory of an address space lies in this process, for a device that is software and transfers much.
///
/// ``DeviceView/withReach(_:)`` lends one for a call; what it names lasts as long as the call.
@safe @frozen
public struct DeviceReach: ~Copyable {
  /// One mapping: the addresses of the device, and the memory that they mean.
  @safe @frozen
  public struct Piece: @unchecked Sendable {
    @usableFromInline let start: UInt64
    @usableFromInline let last: UInt64
    @usableFromInline let base: UnsafeMutableRawPointer
    @usableFromInline let access: DMAAccess

    /// Describes a mapping.
    /// - Parameters:
    ///   - range: What the device calls it.
    ///   - base: Where the device's side of it begins in this process.
    ///   - access: What the device may do.
    @unsafe
    public init(_ range: IOVARange, at base: UnsafeMutableRawPointer, access: DMAAccess) {
      start = range.start.rawValue
      last = range.last.rawValue
      unsafe self.base = base
      self.access = access
    }
  }

  @usableFromInline let pieces: UnsafeBufferPointer<Piece>
  /// The one that was found last: the next transfer is often a neighbour of the one before.
  @usableFromInline var latest: Piece?

  /// Lends mappings.
  /// - Parameter pieces: Sorted by address; valid, as what they name, as long as this value.
  @unsafe
  public init(_ pieces: UnsafeBufferPointer<Piece>) { unsafe self.pieces = unsafe pieces }

  /// Where the memory of a transfer lies; nil where the device may not do it.
  ///
  /// That is so where it is not inside one mapping, or goes against the mapping's direction. Nobody keeps a fault of
  /// it: ``DeviceView/readAsDevice(at:into:)`` and its sister do.
  /// - Parameters:
  ///   - byteCount: At least 1.
  ///   - access: `.read` or `.write`.
  @unsafe @inlinable
  public mutating func place(
    of iova: IOVA, byteCount: Int, for access: DMAAccess
  ) -> UnsafeMutableRawPointer? {
    let address = iova.rawValue
    if let latest, latest.start <= address, address <= latest.last {
      return unsafe place(address, byteCount, access, in: latest)
    }
    guard let found = piece(at: address) else { return nil }
    latest = found
    return unsafe place(address, byteCount, access, in: found)
  }

  @unsafe @inlinable @inline(__always)
  func place(
    _ address: UInt64, _ byteCount: Int, _ access: DMAAccess, in piece: Piece
  ) -> UnsafeMutableRawPointer? {
    guard byteCount > 0, UInt64(byteCount &- 1) <= piece.last &- address,
      piece.access.rawValue & access.rawValue == access.rawValue
    else { return nil }
    return unsafe piece.base + Int(address &- piece.start)
  }

  @usableFromInline
  func piece(at address: UInt64) -> Piece? {
    let count = count(through: IOVA(address))
    // SAFETY: so many pieces begin at or below the address.
    guard count > 0, unsafe address <= pieces[count - 1].last else { return nil }
    return unsafe pieces[count - 1]
  }

  /// The number of mappings that begin at or below an address.
  package func count(through iova: IOVA) -> Int {
    var (low, high) = unsafe (0, pieces.count)
    while low < high {
      let middle = (low + high) / 2
      if unsafe pieces[middle].start <= iova.rawValue { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
