// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import Glibc
internal import Synchronization

/// The memory of an ``IOVAMap``: mappings of zeroes that are unmapped together, when the map goes.
@safe @usableFromInline
struct IOVAMapTables: ~Copyable, @unchecked Sendable {
  private var blocks: [UnsafeMutableRawBufferPointer] = unsafe []

  init() {}

  /// Makes a table of atomic words, all 0.
  ///
  /// Its pages are the kernel's until they are written. `calloc` would take what was freed before, once the process
  /// has freed a table, and write zeroes to all of it.
  @unsafe
  mutating func make<Word: ~Copyable>(_ type: Word.Type, count: Int) -> UnsafeMutablePointer<Word> {
    let byteCount = count * MemoryLayout<Word>.stride
    let address = abi_mmap(nil, UInt64(byteCount), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard address > 0, let block = unsafe UnsafeMutableRawPointer(bitPattern: Int(address)) else {
      fatalError("no memory for \(count) words of an IOVA map")
    }
    unsafe blocks.append(UnsafeMutableRawBufferPointer(start: block, count: byteCount))
    // SAFETY: an atomic integer is its bytes; zeroes are a valid one.
    return unsafe block.bindMemory(to: type, capacity: count)
  }

  @usableFromInline
  deinit { unsafe blocks.forEach { _ = unsafe abi_munmap($0.baseAddress, UInt64($0.count)) } }
}
