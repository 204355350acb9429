// SPDX-License-Identifier: Apache-2.0

/// A range of addresses at which the devices of one address space reach memory of this process.
public struct ExposedRange: Sendable {
  /// The devices' addresses.
  public let range: IOVARange
  /// Which bytes of the memory they are; the first is at the range's start.
  public let bytes: Range<Int>
  /// What the devices may do.
  public let access: DMAAccess
  /// How both sides share them.
  public let sharing: DMASharing
  /// Whether the kernel refused to unmap them: devices may reach them until the address space is gone.
  public let isParked: Bool
  /// The ledger of the memory: the same object for each exposure and share of it.
  public let shares: PageShares

  init(_ entry: ExposureEntry) {
    range = entry.range
    bytes = entry.bytes
    access = entry.access
    sharing = entry.sharing
    isParked = entry.state == .parked
    shares = entry.shares
  }

  /// The place in the memory, in bytes from its first, that an address of the range leads to.
  public func byteOffset(of iova: IOVA) -> Int {
    precondition(range.start <= iova && iova <= range.last, "an address of the range")
    return bytes.lowerBound + Int(iova.rawValue - range.start.rawValue)
  }

  /// Its parts with the same holders, ascending.
  var listing: [ExposureListing] {
    let unit = shares.pageByteCount
    let own = bytes.lowerBound / unit..<(bytes.upperBound + unit - 1) / unit
    return shares.listing.compactMap { entry in
      let pages = entry.pages.clamped(to: own)
      guard !pages.isEmpty else { return nil }
      // A ledger that counts huge pages has whole ones; an exposure may be of a part.
      let part = (pages.lowerBound * unit..<pages.upperBound * unit).clamped(to: bytes)
      let first = range.start.advanced(byByteCount: part.lowerBound - bytes.lowerBound)
      let last = IOVA(first.rawValue + UInt64(part.count - 1))
      return ExposureListing(
        range: IOVARange(start: first, last: last), pages: pages, pageByteCount: unit, access: access,
        sharing: sharing, isParked: isParked, holders: entry.holders)
    }
  }
}

/// Pages that the devices of an address space reach, and all that hold them.
public struct ExposureListing: Hashable, Sendable {
  /// The devices' addresses of the pages.
  public let range: IOVARange
  /// Which pages, counted from their memory's first.
  public let pages: Range<Int>
  /// The size of a page in bytes.
  public let pageByteCount: Int
  /// What the devices of this address space may do.
  public let access: DMAAccess
  /// How both sides share them.
  public let sharing: DMASharing
  /// Whether the kernel refused to unmap them.
  public let isParked: Bool
  /// The labels of all that hold a share of the pages, this exposure among them, sorted.
  public let holders: [String]
}

extension ExposureListing: CustomStringConvertible {
  /// One line: `0x1000...0x2fff: pages 0..<2, read, write, streaming: IOAS 2, 0x1000...0x2fff`.
  public var description: String {
    "\(range): pages \(pages), \(access), \(sharing)\(isParked ? ", parked" : ""): "
      + holders.joined(separator: "; ")
  }
}
