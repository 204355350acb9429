// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import VDUSE

/// Looks 4 KiB to write up over and over, each 12 KiB after the one before.
/// - Parameters:
///   - first: The first address.
///   - mask: Of what is added to it; a power of two less one.
/// - Returns: The sum of the pointers; 0 where one was missing.
@inline(never)
func findBytes(_ cache: borrowing IOTLBCache, _ first: UInt64, _ mask: UInt64, _ count: UInt32) -> UInt64 {
  find(first, mask, count) {
    unsafe cache.bytes(at: $0, byteCount: 4096, writable: true).map { UInt(bitPattern: $0) }
  }
}

/// The same for as many of the bytes as are contiguous.
@inline(never)
func findRuns(_ cache: borrowing IOTLBCache, _ first: UInt64, _ mask: UInt64, _ count: UInt32) -> UInt64 {
  find(first, mask, count) {
    unsafe cache.run(at: $0, byteCount: 4096, writable: true).map { UInt(bitPattern: $0.baseAddress) }
  }
}

@inline(__always)
private func find(
  _ first: UInt64, _ mask: UInt64, _ count: UInt32, _ lookUp: (IOVA) -> UInt?
) -> UInt64 {
  var (sum, offset): (UInt64, UInt64) = (0, 0)
  var index: UInt32 = 0
  while index != count {
    guard let bytes = lookUp(IOVA(first &+ offset)) else { return 0 }
    sum &+= UInt64(bytes)
    offset = (offset &+ 12288) & mask
    index &+= 1
  }
  return sum
}

/// Looks bytes up in two entries in turn.
/// - Parameter second: An address of the other entry.
@inline(never)
func findInTurn(_ cache: borrowing IOTLBCache, _ first: UInt64, _ second: UInt64, _ count: UInt32) -> UInt64 {
  var sum: UInt64 = 0
  var index: UInt32 = 0
  while index != count {
    guard
      let bytes = unsafe cache.bytes(
        at: IOVA(index & 1 == 0 ? first : second), byteCount: 4096, writable: true)
    else { return 0 }
    sum &+= UInt64(UInt(bitPattern: bytes))
    index &+= 1
  }
  return sum
}
