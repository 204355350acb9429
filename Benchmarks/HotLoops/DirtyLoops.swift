// SPDX-License-Identifier: Apache-2.0
internal import DMACore

/// A bitmap of so many pages of 4 KiB, one in 10,000 dirty.
func sparseBitmap(_ pageCount: UInt32) -> DirtyBitmap {
  let range = IOVARange(start: IOVA(0), last: IOVA(UInt64(pageCount) * 4096 - 1))
  var words = [UInt64](repeating: 0, count: (Int(pageCount) + 63) / 64)
  for page in stride(from: 3, to: Int(pageCount), by: 10_000) { words[page / 64] |= 1 << UInt64(page % 64) }
  return DirtyBitmap(of: range, pageByteCount: 4096, words: words)
}

/// Goes through the dirty ranges, as a migration does.
@inline(never)
func readDirtyRanges(_ bitmap: DirtyBitmap) -> UInt64 {
  var sum: UInt64 = 0
  for range in bitmap { sum &+= range.last.rawValue }
  return sum
}
