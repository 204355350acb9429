// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// All exposures of one address space, to be found by their addresses.
///
/// An entry is made before its pages are mapped and goes after they are unmapped, so that an address that a
/// device reaches is always found. It is the exposure's record in the ledger of its memory too: a ledger
/// holds the tables in which to look. Making and removing one allocates nothing, once there were as many before.
final class ExposureTable: Sendable {
  /// What became of an exposure.
  enum State: Hashable, Sendable {
    /// Nobody has the slot.
    case none
    /// Devices reach the pages, or will in a moment.
    case reached
    /// Unmapped with all others; its addresses stay taken as long as its owner has it.
    case ended
    /// Its unmapping failed: a device may reach the pages until the address space is gone.
    case parked
  }

  @safe
  struct Entry: @unchecked Sendable {
    let range: IOVARange
    /// Of the memory.
    let bytes: Range<Int>
    let access: DMAAccess
    let sharing: DMASharing
    /// Held by the exposure's owner, and by the entry itself once it is parked.
    private let ledger: Unmanaged<PageShares>
    var state = State.reached
    /// The next free slot, where this one is nobody's.
    var next = noSlot

    init(
      _ range: IOVARange, of bytes: Range<Int>, _ access: DMAAccess, _ sharing: DMASharing, _ shares: PageShares
    ) {
      self.range = range
      self.bytes = bytes
      self.access = access
      self.sharing = sharing
      unsafe ledger = Unmanaged.passUnretained(shares)
    }

    var shares: PageShares { unsafe ledger.takeUnretainedValue() }
    func isOf(_ shares: PageShares) -> Bool { unsafe ledger.toOpaque() == Unmanaged.passUnretained(shares).toOpaque() }

    mutating func park() {
      state = .parked
      _ = unsafe ledger.retain()
    }

    func forget() { if state == .parked { unsafe ledger.release() } }
  }

  private static var noSlot: UInt32 { .max }

  private struct Slots: ~Copyable {
    let map = IOVAMap()
    var entries: [Entry] = []
    /// The free one that was given back last.
    var free = noSlot

    func note(_ range: IOVARange, _ slot: UInt32) throws(IOVAMap.Failure) {
      if !map.insertIntoLeaf(range, slot: slot) { try map.insert(range, slot: slot) }
    }

    func forget(_ range: IOVARange, _ slot: UInt32) {
      if map.removeFromLeaf(range, slot: slot) { return }
      do throws(IOVAMap.Failure) {
        try map.remove(range)
      } catch {
        preconditionFailure("\(range) is in the map as it was inserted: \(error)")
      }
    }
  }

  /// Entered by whoever makes or ends an exposure, over its kernel call.
  let gate = ExposureGate()
  private let slots = Mutex(Slots())
  /// How often all exposures were ended at once.
  private let endCount = Atomic<Int>(0)
  private let isOver = Atomic<Bool>(false)

  /// How many there are whose pages are mapped.
  var count: Int { slots.withLock { $0.entries.count { $0.state == .reached || $0.state == .parked } } }

  /// A count that changes when exposures are ended by somebody else than their owners.
  var epoch: Int { endCount.load(ordering: .acquiring) }

  /// Adds an entry.
  /// - Returns: Its slot, to be given to the other members.
  /// - Throws: `KernelError` `EINVAL` for a range that is longer than 16 TiB.
  func insert(_ entry: Entry, in space: @autoclosure () -> String) throws(KernelError) -> UInt32 {
    let slot = slots.withLock { slots -> UInt32? in
      let isNew = slots.free == Self.noSlot
      let slot = isNew ? UInt32(truncatingIfNeeded: slots.entries.count) : slots.free
      do throws(IOVAMap.Failure) {
        try slots.note(entry.range, slot)
      } catch {
        precondition(error == .tooLong, "ranges are of whole pages, and handed out once: \(error)")
        return nil
      }
      if isNew {
        slots.entries.append(entry)
      } else {
        slots.free = slots.entries[Int(slot)].next
        slots.entries[Int(slot)] = entry
      }
      return slot
    }
    guard let slot else {
      throw KernelError(
        operation: "expose memory", errno: .invalidArgument, subject: "\(space()), \(entry.range)",
        remedy: "expose at most \(IOVAMap.greatestByteCount) bytes (16 TiB) at once")
    }
    return slot
  }

  /// Whether devices reach the pages as far as is known.
  /// - Parameter epoch: From before the insertion.
  func isReached(_ slot: UInt32, since epoch: Int) -> Bool {
    epoch == self.epoch || slots.withLock { $0.entries[Int(slot)].state == .reached }
  }

  /// Takes the entry of an exposure out whose pages are unmapped.
  func remove(_ slot: UInt32) {
    slots.withLock { slots in
      let index = Int(slot)
      if slots.entries[index].state == .reached { slots.forget(slots.entries[index].range, slot) }
      slots.entries[index].state = .none
      slots.entries[index].next = slots.free
      slots.free = slot
    }
  }

  /// Notes that the pages could not be unmapped.
  func park(_ slot: UInt32) { slots.withLock { $0.entries[Int(slot)].park() } }

  /// Ends the share of an exposure whose pages are unmapped; its owner does not know yet.
  ///
  /// Called by whoever is alone.
  func end(_ slot: UInt32) {
    endCount.add(1, ordering: .releasing)
    let ended = slots.withLock { slots -> Entry? in
      let entry = slots.entries[Int(slot)]
      guard entry.state == .reached else { return nil }
      slots.entries[Int(slot)].state = .ended
      slots.forget(entry.range, slot)
      return entry
    }
    // Its owner holds the ledger, and waits at the gate.
    if let ended { ended.shares.unshareExposed(ended.bytes) }
  }

  /// The slots of those that devices reach.
  var reached: [(slot: UInt32, range: IOVARange)] {
    slots.withLock { slots in
      slots.entries.enumerated().compactMap { index, entry in
        entry.state == .reached ? (UInt32(index), entry.range) : nil
      }
    }
  }

  /// Those that devices reach, or may reach, by their addresses.
  var all: [ExposedRange] {
    slots.withLock { slots in
      slots.entries.filter { $0.state == .reached || $0.state == .parked }.map { ExposedRange($0) }
    }.sorted { $0.range.start < $1.range.start }
  }

  /// The one that an address belongs to.
  func exposure(at iova: IOVA) -> ExposedRange? {
    slots.withLock { slots in slots.map.slot(at: iova).map { ExposedRange(slots.entries[Int($0)]) } }
  }

  /// Those of some memory that devices reach, without one of them, and the ledger's pages that they are.
  func entries(of shares: PageShares, besides own: UInt32?) -> [(range: IOVARange, pages: Range<Int>)] {
    slots.withLock { slots in
      slots.entries.indices.compactMap { index in
        let entry = slots.entries[index]
        guard entry.state == .reached, entry.isOf(shares), own.map(Int.init) != index else { return nil }
        return (entry.range, shares.pages(of: entry.bytes))
      }
    }
  }

  /// Whether the address space is gone.
  var isClosed: Bool { isOver.load(ordering: .acquiring) }

  /// Ends the table with its address space: nobody may look for what was parked any more.
  func close() {
    isOver.store(true, ordering: .releasing)
    let parked = slots.withLock { slots in
      defer { slots.entries = [] }
      return slots.entries.filter { $0.state == .parked }
    }
    // Outside the lock: it may be the last holder of a ledger.
    for entry in parked { entry.forget() }
  }
}
