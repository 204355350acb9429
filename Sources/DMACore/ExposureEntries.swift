// SPDX-License-Identifier: Apache-2.0

/// The entries of one address space's exposures, by their numbers.
///
/// An array whose memory has one owner: writing to an element asks nobody whether it is shared.
@safe
struct ExposureEntries: ~Copyable, @unchecked Sendable {
  private(set) var count = 0
  private var capacity = 0
  private var elements: UnsafeMutablePointer<ExposureEntry>

  init() { unsafe elements = .allocate(capacity: 0) }

  subscript(number: UInt32) -> ExposureEntry {
    @inline(__always) get {
      precondition(number < count, "the number of an entry")
      return unsafe elements[Int(number)]
    }
    @inline(__always) _modify {
      precondition(number < count, "the number of an entry")
      yield unsafe &elements[Int(number)]
    }
  }

  /// The element, for several accesses at once.
  @inline(__always)
  mutating func withEntry<Result>(_ number: UInt32, _ body: (inout ExposureEntry) -> Result) -> Result {
    precondition(number < count, "the number of an entry")
    return unsafe body(&elements[Int(number)])
  }

  @inline(never)
  mutating func append(_ entry: ExposureEntry) {
    if count == capacity { grow() }
    unsafe (elements + count).initialize(to: entry)
    count += 1
  }

  /// Those that are wanted, with their numbers.
  func compactMap<Result>(_ transform: (UInt32, ExposureEntry) -> Result?) -> [Result] {
    (0..<UInt32(count)).compactMap { transform($0, self[$0]) }
  }

  /// All go.
  mutating func removeAll() -> [ExposureEntry] {
    let all = compactMap { _, entry in entry }
    count = 0
    return all
  }

  private mutating func grow() {
    capacity = max(8, 2 * capacity)
    let larger = UnsafeMutablePointer<ExposureEntry>.allocate(capacity: capacity)
    unsafe larger.moveInitialize(from: elements, count: count)
    unsafe elements.deallocate()
    unsafe elements = larger
  }

  // An entry holds nothing that must be let go of with it.
  deinit { unsafe elements.deallocate() }
}
