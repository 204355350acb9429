// SPDX-License-Identifier: Apache-2.0
import DMACore
import Virtqueues

/// A ring and a table in blocks of their own.
final class HostileRing: IOVATranslator {
  static let tableAddress: UInt64 = 0x1_0000
  let descriptors, first, second, table: Block

  /// - Parameter isPacked: Which kind of table it is; all of it is one chain at first, so that a walk comes to its end soon.
  init(descriptors: Int, first: Int, second: Int, isPacked: Bool) {
    self.descriptors = Block(byteCount: descriptors)
    self.first = Block(byteCount: first)
    self.second = Block(byteCount: second)
    table = Block(byteCount: 16 * 20)
    for index in 0..<table.byteCount / 16 {
      // 256 bytes; in a table of a split ring, the chain goes on with the next descriptor.
      table.store(UInt64(index) << 12, at: index * 16)
      table.store(isPacked ? 256 : 256 | 1 << 32 | UInt64(index + 1) << 48, at: index * 16 + 8)
    }
  }

  @unsafe
  func readableBytes(at start: IOVA, byteCount: Int) -> UnsafeRawPointer? {
    guard start.rawValue >= Self.tableAddress, byteCount <= table.byteCount,
      start.rawValue - Self.tableAddress <= UInt64(table.byteCount - byteCount)
    else { return nil }
    return unsafe UnsafeRawPointer(table.start + Int(start.rawValue - Self.tableAddress))
  }

  /// Writes somewhere: a whole descriptor, or one or more bytes of any part.
  func scribble(_ script: inout Script) {
    let how = script.byte()
    let block = [descriptors, first, second, table][Int(how & 3)]
    if how & 4 == 0, how & 3 == 0 || how & 3 == 3 {
      let index = Int(script.byte()) % (block.byteCount / 16)
      block.store(script.number(), at: index * 16)
      block.store(
        script.length() | UInt64(script.word()) << 32 | UInt64(script.word()) << 48,
        at: index * 16 + 8)
    } else {
      for _ in 0...(how >> 3 & 7) { block.store(script.byte(), at: Int(script.byte()) % block.byteCount) }
    }
  }

  /// Memory of exactly one length, as AddressSanitizer sees it.
  @safe final class Block {
    let start: UnsafeMutableRawPointer
    let byteCount: Int

    init(byteCount: Int) {
      unsafe start = .allocate(byteCount: byteCount, alignment: 16)
      self.byteCount = byteCount
      unsafe start.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    }

    deinit { unsafe start.deallocate() }

    var area: RingArea { unsafe RingArea(unsafeStart: start, byteCount: byteCount) }

    func store<Word: BitwiseCopyable>(_ value: Word, at offset: Int) {
      precondition(offset >= 0 && offset + MemoryLayout<Word>.size <= byteCount)
      unsafe (start + offset).storeBytes(of: value, as: Word.self)
    }
  }
}
