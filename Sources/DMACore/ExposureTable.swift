// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// All exposures of one address space, to be found by their addresses.
///
/// An entry is made before its pages are mapped and goes after they are unmapped, so that an address that a
/// device reaches is always found. Making and removing one allocates nothing, once there were as many before.
final class ExposureTable: Sendable {
  /// What became of an exposure.
  enum State: Hashable, Sendable {
    /// Devices reach the pages, or will in a moment.
    case reached
    /// Unmapped with all others; its addresses stay taken as long as its owner has it.
    case ended
    /// Its unmapping failed: a device may reach the pages until the address space is gone.
    case parked
  }

  struct Entry: Sendable {
    let range: IOVARange
    /// Of the memory.
    let bytes: Range<Int>
    let access: DMAAccess
    let sharing: DMASharing
    let shares: PageShares
    let holder: PageShareHolder
    var state = State.reached
  }

  private struct Slots {
    var entries: [Entry?] = []
    /// Of `entries` that are nil.
    var free: [UInt32] = []
  }

  /// Entered by whoever makes or ends an exposure, over its kernel call.
  let gate = ExposureGate()
  private let map = IOVAMap()
  private let slots = Mutex(Slots())

  /// How many there are whose pages are mapped.
  var count: Int {
    slots.withLock { $0.entries.count { $0.map { $0.state != .ended } ?? false } }
  }

  /// Adds an entry.
  /// - Returns: Its slot, to be given to the other members.
  /// - Throws: `KernelError` `EINVAL` for a range that is longer than 16 TiB.
  func insert(_ entry: Entry, in space: String) throws(KernelError) -> UInt32 {
    let slot = slots.withLock { slots in
      if let slot = slots.free.popLast() {
        slots.entries[Int(slot)] = entry
        return slot
      }
      slots.entries.append(entry)
      return UInt32(slots.entries.count - 1)
    }
    do throws(IOVAMap.Failure) {
      try map.insert(entry.range, slot: slot)
    } catch {
      forget(slot)
      precondition(error == .tooLong, "ranges are of whole pages, and handed out once: \(error)")
      throw KernelError(
        operation: "expose memory", errno: .invalidArgument, subject: "\(space), \(entry.range)",
        remedy: "expose at most \(IOVAMap.greatestByteCount) bytes (16 TiB) at once")
    }
    return slot
  }

  /// Whether devices reach the pages as far as is known.
  func isReached(_ slot: UInt32) -> Bool { slots.withLock { $0.entries[Int(slot)]?.state == .reached } }

  /// Takes the entry of an exposure out whose pages are unmapped.
  /// - Returns: Whether its share lasts: false where ``end(_:)`` ended it.
  func remove(_ slot: UInt32) -> Bool {
    let range = slots.withLock { slots -> IOVARange? in
      guard let entry = slots.entries[Int(slot)], entry.state == .reached else { return nil }
      return entry.range
    }
    if let range { unmap(range) }
    forget(slot)
    return range != nil
  }

  /// Notes that the pages could not be unmapped.
  func park(_ slot: UInt32) { slots.withLock { $0.entries[Int(slot)]?.state = .parked } }

  /// Ends the share of an exposure whose pages are unmapped; its owner does not know yet.
  func end(_ slot: UInt32) {
    let ended = slots.withLock { slots -> Entry? in
      guard let entry = slots.entries[Int(slot)], entry.state == .reached else { return nil }
      slots.entries[Int(slot)]?.state = .ended
      return entry
    }
    guard let ended else { return }
    unmap(ended.range)
    do throws(PageShareError) {
      try ended.shares.unshare(ended.holder)
    } catch {
      preconditionFailure("an exposure's share was ended by somebody else: \(error)")
    }
  }

  /// The slots of those that devices reach.
  var reached: [(slot: UInt32, range: IOVARange)] {
    slots.withLock { slots in
      slots.entries.enumerated().compactMap { index, entry in
        guard let entry, entry.state == .reached else { return nil }
        return (UInt32(index), entry.range)
      }
    }
  }

  /// Those that devices reach, or may reach, by their addresses.
  var all: [Entry] {
    slots.withLock { $0.entries.compactMap { $0 } }.filter { $0.state != .ended }
      .sorted { $0.range.start < $1.range.start }
  }

  /// The one that an address belongs to.
  func entry(at iova: IOVA) -> Entry? {
    guard let slot = map.slot(at: iova) else { return nil }
    return slots.withLock { slots in
      // Another one may have the slot by now.
      guard Int(slot) < slots.entries.count, let entry = slots.entries[Int(slot)], entry.state != .ended,
        entry.range.start <= iova, iova <= entry.range.last
      else { return nil }
      return entry
    }
  }

  private func forget(_ slot: UInt32) {
    // Let go outside the lock: it may be the last holder of a ledger.
    let old = slots.withLock { slots in
      defer {
        slots.entries[Int(slot)] = nil
        slots.free.append(slot)
      }
      return slots.entries[Int(slot)]
    }
    _ = consume old
  }

  private func unmap(_ range: IOVARange) {
    do throws(IOVAMap.Failure) {
      try map.remove(range)
    } catch {
      preconditionFailure("\(range) is in the map as it was inserted: \(error)")
    }
  }
}
