// SPDX-License-Identifier: Apache-2.0

/// The addresses of one address space: which are free, and which lead to an exposure.
///
/// It has one owner and no lock. Making and removing an exposure allocates nothing, once there were as many
/// before.
struct ExposedAddresses: ~Copyable {
  private(set) var allocator: IOVAAllocator
  /// How many ranges are out.
  private(set) var outCount = 0
  /// Made with the first look-up, and kept up to date from then on: most drivers never look an address up.
  private var map: IOVAMap?
  private(set) var entries = ExposureEntries()
  /// The entry that became nobody's last.
  private var free = UInt32.max

  init(allowed: [IOVARange]) { allocator = IOVAAllocator(allowed: allowed) }

  mutating func narrow(to ranges: [IOVARange]) { allocator.narrow(to: ranges) }

  /// Everything is free anew; nothing may be out.
  mutating func open(_ ranges: [IOVARange]) { allocator = IOVAAllocator(allowed: ranges) }

  // MARK: Addresses

  @inline(__always)
  mutating func take(_ request: IOVARequest) throws(IOVAAllocator.Failure) -> IOVARange {
    guard request.byteCount & (request.granule &- 1) == 0 else { throw .notAllowed }
    let range =
      if let address = request.address {
        try take(at: address, request)
      } else {
        try takeAnywhere(request)
      }
    outCount &+= 1
    return range
  }

  private mutating func take(
    at address: IOVA, _ request: IOVARequest
  ) throws(IOVAAllocator.Failure) -> IOVARange {
    guard let wanted = IOVARange(start: address, byteCount: UInt64(request.byteCount)),
      wanted.last <= request.limit, address.rawValue & UInt64(request.granule - 1) == 0
    else { throw .notAllowed }
    try allocator.reserve(wanted)
    return wanted
  }

  @inline(__always)
  private mutating func takeAnywhere(_ request: IOVARequest) throws(IOVAAllocator.Failure) -> IOVARange {
    var alignment = request.alignment
    while true {
      do throws(IOVAAllocator.Failure) {
        return try allocator.allocate(
          byteCount: UInt64(truncatingIfNeeded: request.byteCount),
          alignment: UInt64(truncatingIfNeeded: alignment), upTo: request.limit)
      } catch {
        guard alignment > request.granule else { throw error }
        alignment = max(request.granule, alignment >> 9)
      }
    }
  }

  @inline(__always)
  mutating func giveBack(_ range: IOVARange) {
    do throws(IOVAAllocator.Failure) {
      try allocator.deallocate(range)
      outCount &-= 1
    } catch {
      preconditionFailure("\(range) was given back twice: \(error)")
    }
  }

  // MARK: Exposures

  /// Notes an exposure of a range that was taken, of 16 TiB at most.
  /// - Returns: The index of its entry.
  @inline(__always)
  mutating func insert(_ entry: ExposureEntry) -> UInt32 {
    let isNew = free == .max
    let index = isNew ? UInt32(truncatingIfNeeded: entries.count) : free
    if _slowPath(map != nil) { insertIntoMap(entry.range, index) }
    if isNew {
      entries.append(entry)
    } else {
      free = entries.withEntry(index) { place in
        let next = place.next
        place = entry
        return next
      }
    }
    return index
  }

  /// Takes an exposure of a range out whose pages are unmapped.
  @inline(__always)
  mutating func remove(_ index: UInt32, _ range: IOVARange) {
    if _slowPath(map != nil), entries[index].state == .reached { removeFromMap(range, index) }
    let next = free
    entries.withEntry(index) { entry in
      entry.state = .none
      entry.next = next
    }
    free = index
  }

  /// Notes that the pages could not be unmapped.
  mutating func park(_ index: UInt32) { entries[index].park() }

  /// Notes that the pages are unmapped, which the owner does not know yet.
  /// - Returns: The entry; nil where no device reached the pages.
  mutating func end(_ index: UInt32) -> ExposureEntry? {
    guard entries[index].state == .reached else { return nil }
    if map != nil { removeFromMap(entries[index].range, index) }
    entries[index].state = .ended
    return entries[index]
  }

  /// The one that an address belongs to.
  mutating func entry(at iova: IOVA) -> ExposureEntry? {
    if map == nil {
      map = IOVAMap()
      for (index, range) in entries.compactMap({ $1.isMapped ? ($0, $1.range) : nil }) {
        insertIntoMap(range, index)
      }
    }
    return map?.slot(at: iova).map { entries[$0] }
  }

  /// All go.
  mutating func removeAll() -> [ExposureEntry] { entries.removeAll() }

  @inline(never)
  private func insertIntoMap(_ range: IOVARange, _ index: UInt32) {
    if map?.insertIntoLeaf(range, slot: index) == true { return }
    do throws(IOVAMap.Failure) {
      try map?.insert(range, slot: index)
    } catch {
      preconditionFailure("\(range) is of whole pages, and handed out once: \(error)")
    }
  }

  @inline(never)
  private func removeFromMap(_ range: IOVARange, _ index: UInt32) {
    if map?.removeFromLeaf(range, slot: index) == true { return }
    do throws(IOVAMap.Failure) {
      try map?.remove(range)
    } catch {
      preconditionFailure("\(range) is in the map as it was inserted: \(error)")
    }
  }
}
