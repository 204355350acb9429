// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Synchronization

/// The memory of an ``IOVAMap``: blocks of zeroes that are freed together, when the map goes.
@safe @usableFromInline
struct IOVAMapTables: ~Copyable, @unchecked Sendable {
  private var blocks: [UnsafeMutableRawPointer] = unsafe []

  init() {}

  /// Makes a table of atomic words, all 0.
  ///
  /// Its pages are the kernel's until they are written.
  @unsafe
  mutating func make<Word: ~Copyable>(_ type: Word.Type, count: Int) -> UnsafeMutablePointer<Word> {
    guard let block = unsafe calloc(count, MemoryLayout<Word>.stride) else {
      fatalError("no memory for \(count) words of an IOVA map")
    }
    unsafe blocks.append(block)
    // SAFETY: an atomic integer is its bytes; zeroes are a valid one.
    return unsafe block.bindMemory(to: type, capacity: count)
  }

  @usableFromInline
  deinit { unsafe blocks.forEach { unsafe free($0) } }
}
