// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// The addresses and exposures of one address space, for all its threads.
///
/// An exposure is noted before its pages are mapped and goes after they are unmapped, so that an address that
/// a device reaches is always found. Its entry is its record in the ledger of its memory too: a ledger holds
/// the tables in which to look.
final class ExposureTable: Sendable {
  /// Entered by whoever makes or ends an exposure, over its kernel call.
  let gate = ExposureGate()
  private let addresses: Mutex<ExposedAddresses>
  /// How often an exposure was ended by somebody else than its owner.
  private let endCount = Atomic<Int>(0)
  private let isOver = Atomic<Bool>(false)

  init(allowed: [IOVARange]) { addresses = Mutex(ExposedAddresses(allowed: allowed)) }

  // MARK: Addresses

  var allowed: [IOVARange] { addresses.withLock { $0.allocator.allowed } }

  func narrow(to ranges: [IOVARange]) { addresses.withLock { $0.narrow(to: ranges) } }

  /// Everything may be used anew.
  /// - Returns: How many ranges are handed out; nothing has changed where it is not 0.
  func open(_ ranges: [IOVARange]) -> Int {
    addresses.withLock { addresses in
      if addresses.outCount == 0 { addresses.open(ranges) }
      return addresses.outCount
    }
  }

  func take(_ request: IOVARequest) throws(IOVAAllocator.Failure) -> IOVARange {
    try addresses.withLock { addresses throws(IOVAAllocator.Failure) in try addresses.take(request) }
  }

  func giveBack(_ range: IOVARange) { addresses.withLock { $0.giveBack(range) } }

  // MARK: Exposures

  /// Takes a range and notes its exposure.
  /// - Parameter bytes: 16 TiB at most.
  /// - Returns: The range, and a number for the other members.
  @inline(__always)
  func insert(
    _ request: IOVARequest, of bytes: Range<Int>, _ access: DMAAccess, _ sharing: DMASharing,
    _ shares: PageShares
  ) throws(IOVAAllocator.Failure) -> (range: IOVARange, slot: UInt32) {
    try addresses.withLock { addresses throws(IOVAAllocator.Failure) in
      let range = try addresses.take(request)
      return (range, addresses.insert(ExposureEntry(range, of: bytes, access, sharing, shares)))
    }
  }

  /// Takes the entry of an exposure out whose pages are unmapped, and gives its range back.
  @inline(__always)
  func remove(_ slot: UInt32, _ range: IOVARange) {
    addresses.withLock { addresses in
      addresses.remove(slot, range)
      addresses.giveBack(range)
    }
  }

  /// How many there are whose pages are mapped.
  var count: Int { addresses.withLock { $0.entries.compactMap { $1.isMapped ? $0 : nil }.count } }

  /// A count that changes when an exposure is ended by somebody else than its owner.
  @inline(__always)
  var epoch: Int { endCount.load(ordering: .acquiring) }

  /// Whether devices reach the pages as far as is known.
  /// - Parameter epoch: From before the insertion.
  @inline(__always)
  func isReached(_ slot: UInt32, since epoch: Int) -> Bool { epoch == self.epoch || isReached(slot) }

  @inline(never)
  private func isReached(_ slot: UInt32) -> Bool {
    addresses.withLock { $0.entries[slot].state == .reached }
  }

  /// Notes that the pages could not be unmapped.
  func park(_ slot: UInt32) { addresses.withLock { $0.park(slot) } }

  /// Ends the share of an exposure whose pages are unmapped; its owner does not know yet.
  ///
  /// Called by whoever is alone.
  func end(_ slot: UInt32) {
    endCount.add(1, ordering: .releasing)
    // The owner holds the ledger, and waits at the gate.
    if let ended = addresses.withLock({ $0.end(slot) }) { ended.shares.unshareExposed(ended.bytes) }
  }

  /// The slots of those that devices reach.
  var reached: [(slot: UInt32, range: IOVARange)] {
    addresses.withLock { addresses in
      addresses.entries.compactMap { slot, entry in entry.state == .reached ? (slot, entry.range) : nil }
    }
  }

  /// Those that devices reach, or may reach, by their addresses.
  var all: [ExposedRange] {
    addresses.withLock { $0.entries.compactMap { $1.isMapped ? ExposedRange($1) : nil } }
      .sorted { $0.range.start < $1.range.start }
  }

  /// The one that an address belongs to.
  func exposure(at iova: IOVA) -> ExposedRange? {
    addresses.withLock { $0.entry(at: iova).map { ExposedRange($0) } }
  }

  /// Those of some memory that devices reach, without one of them, and the ledger's pages that they are.
  func entries(of shares: PageShares, besides own: UInt32?) -> [(range: IOVARange, pages: Range<Int>)] {
    addresses.withLock { addresses in
      addresses.entries.compactMap { slot, entry in
        guard entry.state == .reached, entry.isOf(shares), own != slot else { return nil }
        return (entry.range, shares.pages(of: entry.bytes))
      }
    }
  }

  /// Whether the address space is gone.
  var isClosed: Bool { isOver.load(ordering: .acquiring) }

  /// Ends the table with its address space: nobody may look for what was parked any more.
  func close() {
    isOver.store(true, ordering: .releasing)
    // Outside the lock: an entry may be the last holder of a ledger.
    for entry in addresses.withLock({ $0.removeAll() }) { entry.release() }
  }
}
