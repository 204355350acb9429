// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Synchronization

/// The memory of an ``IOVAMap``: blocks of zeroes that are freed together, when the map goes.
@safe @usableFromInline
struct IOVAMapTables: ~Copyable, @unchecked Sendable {
  private var blocks: [UnsafeMutableRawBufferPointer] = unsafe []

  init() {}

  /// Makes a table of atomic words, all 0.
  ///
  /// Its pages are the kernel's until they are written.
  @unsafe
  mutating func make<Word: ~Copyable>(_ type: Word.Type, count: Int) -> UnsafeMutablePointer<Word> {
    // Not calloc: for a size that was freed before, it clears 8 MiB byte by byte, at every opening of a device.
    let byteCount = count * MemoryLayout<Word>.stride
    let mapped = unsafe mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let block = unsafe mapped, unsafe block != MAP_FAILED else {
      fatalError("no memory for \(count) words of an IOVA map")
    }
    unsafe blocks.append(UnsafeMutableRawBufferPointer(start: block, count: byteCount))
    // SAFETY: an atomic integer is its bytes; zeroes are a valid one.
    return unsafe block.bindMemory(to: type, capacity: count)
  }

  @usableFromInline
  deinit { unsafe blocks.forEach { unsafe munmap($0.baseAddress, $0.count) } }
}
