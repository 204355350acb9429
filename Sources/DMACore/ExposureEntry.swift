// SPDX-License-Identifier: Apache-2.0

/// What an address space knows of one exposure.
@safe
struct ExposureEntry: @unchecked Sendable {
  /// What became of it.
  enum State: Hashable, Sendable {
    /// Nobody has the entry.
    case none
    /// Devices reach the pages, or will in a moment.
    case reached
    /// Unmapped with all others; its addresses stay taken as long as its owner has it.
    case ended
    /// Its unmapping failed: a device may reach the pages until the address space is gone.
    case parked
  }

  let range: IOVARange
  /// Of the memory.
  let bytes: Range<Int>
  let access: DMAAccess
  let sharing: DMASharing
  var state = State.reached
  /// The next entry that is nobody's, where this one is nobody's.
  var next = UInt32.max
  /// Held by the exposure's owner, and by the entry itself once it is parked.
  private let ledger: Unmanaged<PageShares>

  init(
    _ range: IOVARange, of bytes: Range<Int>, _ access: DMAAccess, _ sharing: DMASharing,
    _ shares: PageShares
  ) {
    self.range = range
    self.bytes = bytes
    self.access = access
    self.sharing = sharing
    unsafe ledger = Unmanaged.passUnretained(shares)
  }

  /// Whether devices reach the pages, or may reach them.
  var isMapped: Bool { state == .reached || state == .parked }

  /// The ledger of the memory, while the entry is somebody's.
  var shares: PageShares { unsafe ledger.takeUnretainedValue() }

  func isOf(_ shares: PageShares) -> Bool {
    unsafe ledger.toOpaque() == Unmanaged.passUnretained(shares).toOpaque()
  }

  mutating func park() {
    state = .parked
    _ = unsafe ledger.retain()
  }

  /// Lets go of what a parked entry holds.
  func release() { if state == .parked { unsafe ledger.release() } }
}
