// SPDX-License-Identifier: Apache-2.0

/// The addresses of one address space: which are free, and which lead to an exposure.
///
/// It has one owner and no lock. Making and removing an exposure allocates nothing, once there were as many
/// before.
struct ExposedAddresses: ~Copyable {
  private(set) var allocator: IOVAAllocator
  /// How many ranges are out.
  private(set) var outCount = 0
  /// Made with the first exposure: its tables cost more than opening a device does otherwise.
  private var map: IOVAMap?
  private(set) var entries: [ExposureEntry] = []
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
    if map?.insertIntoLeaf(entry.range, slot: index) != true { insertIntoMap(entry.range, index) }
    if isNew {
      entries.append(entry)
    } else {
      free = entries[Int(index)].next
      entries[Int(index)] = entry
    }
    return index
  }

  /// Takes an exposure out whose pages are unmapped.
  @inline(__always)
  mutating func remove(_ index: UInt32) {
    if entries[Int(index)].state == .reached { removeFromMap(index) }
    entries[Int(index)].state = .none
    entries[Int(index)].next = free
    free = index
  }

  /// Notes that the pages could not be unmapped.
  mutating func park(_ index: UInt32) { entries[Int(index)].park() }

  /// Notes that the pages are unmapped, which the owner does not know yet.
  /// - Returns: The entry; nil where no device reached the pages.
  mutating func end(_ index: UInt32) -> ExposureEntry? {
    guard entries[Int(index)].state == .reached else { return nil }
    removeFromMap(index)
    entries[Int(index)].state = .ended
    return entries[Int(index)]
  }

  /// The one that an address belongs to.
  func entry(at iova: IOVA) -> ExposureEntry? { map?.slot(at: iova).map { entries[Int($0)] } }

  /// All go.
  mutating func removeAll() -> [ExposureEntry] {
    defer { entries = [] }
    return entries
  }

  @inline(never)
  private mutating func insertIntoMap(_ range: IOVARange, _ index: UInt32) {
    if map == nil { map = IOVAMap() }
    do throws(IOVAMap.Failure) {
      try map?.insert(range, slot: index)
    } catch {
      preconditionFailure("\(range) is of whole pages, and handed out once: \(error)")
    }
  }

  @inline(__always)
  private func removeFromMap(_ index: UInt32) {
    let range = entries[Int(index)].range
    if map?.removeFromLeaf(range, slot: index) == true { return }
    do throws(IOVAMap.Failure) {
      try map?.remove(range)
    } catch {
      preconditionFailure("\(range) is in the map as it was inserted: \(error)")
    }
  }
}
