// SPDX-License-Identifier: Apache-2.0
import DMACore
import Testing

@Suite struct DirtyBitmapTests {
  private static func range(_ pageCount: Int, from start: UInt64 = 0x10_0000) -> IOVARange {
    IOVARange(start: IOVA(start), last: IOVA(start + (UInt64(pageCount) * 4096 - 1)))
  }

  /// All bitmaps of a few pages beside a word's end, against a loop over single pages.
  @Test func itsRangesAreThoseOfALoopOverThePages() {
    for pattern in UInt64(0)..<512 {
      let words = [pattern << 60, pattern >> 4]
      let bitmap = DirtyBitmap(of: Self.range(69), pageByteCount: 4096, words: words)
      var expected: [IOVARange] = []
      for page in 0..<69 where words[page / 64] >> UInt64(page % 64) & 1 != 0 {
        let start = 0x10_0000 + UInt64(page) * 4096
        if let end = expected.last, end.last.rawValue + 1 == start {
          expected[expected.count - 1] = IOVARange(start: end.start, last: IOVA(start + 4095))
        } else {
          expected.append(IOVARange(start: IOVA(start), last: IOVA(start + 4095)))
        }
      }
      #expect(Array(bitmap) == expected, "pattern \(pattern)")
      #expect(bitmap.dirtyPageCount == pattern.nonzeroBitCount)
    }
  }

  @Test func whatLiesPastTheLastPageDoesNotCount() {
    let bitmap = DirtyBitmap(of: Self.range(3), pageByteCount: 4096, words: [.max])
    #expect(bitmap.dirtyPageCount == 3)
    #expect(Array(bitmap) == [Self.range(3)])
    #expect(bitmap == DirtyBitmap(of: Self.range(3), pageByteCount: 4096, words: [7]))
  }

  @Test func pagesAreAskedForByAnyAddressInThem() {
    let bitmap = DirtyBitmap(of: Self.range(70), pageByteCount: 4096, words: [1 << 63, 1])
    #expect(!bitmap.isDirty(IOVA(0x10_0000)) && bitmap.isDirty(IOVA(0x10_0000 + 64 * 4096 - 1)))
    #expect(bitmap.isDirty(IOVA(0x10_0000 + 64 * 4096)) && !bitmap.isDirty(IOVA(0x10_0000 + 65 * 4096)))
  }

  @Test func laterBitmapsAreAdded() {
    var all = DirtyBitmap(of: Self.range(4), pageByteCount: 4096)
    #expect(Array(all).isEmpty)
    all.formUnion(DirtyBitmap(of: Self.range(4), pageByteCount: 4096, words: [1]))
    all.formUnion(DirtyBitmap(of: Self.range(4), pageByteCount: 4096, words: [4]))
    #expect(Array(all).map(\.start) == [IOVA(0x10_0000), IOVA(0x10_2000)])
  }

  @Test func dirtyPagesAreTheBitsOfTheRange() {
    let range = Self.range(66)
    #expect(DirtyBitmap.wordCount(of: range, pageByteCount: 4096) == 2)
    // Bits 66 and beyond are not of the range, whatever the kernel left there.
    let pages = DirtyBitmap(of: range, pageByteCount: 4096, words: [1 | 1 << 63, .max])
    #expect(Array(pages).map(\.start) == [0, 63].map { IOVA(0x10_0000 + UInt64($0) * 4096) })
    #expect(Array(pages).map(\.last) == [1, 66].map { IOVA(0x10_0000 + UInt64($0) * 4096 - 1) })
    #expect(pages.dirtyPageCount == 4)
    #expect(DirtyBitmap.wordCount(of: range, pageByteCount: 8192) == 1)
    let short = DirtyBitmap(of: range, pageByteCount: 8192, words: [2])
    #expect(Array(short) == [IOVARange(start: IOVA(0x10_2000), last: IOVA(0x10_3fff))])
  }

  @Test func theEndOf64BitsIsReached() {
    let last = Self.range(2, from: .max - 8191)
    let bitmap = DirtyBitmap(of: last, pageByteCount: 4096, words: [2])
    #expect(Array(bitmap) == [IOVARange(start: IOVA(.max - 4095), last: IOVA(.max))])
  }
}
