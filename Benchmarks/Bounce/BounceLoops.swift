// SPDX-License-Identifier: Apache-2.0
internal import SoftwareIOTLB

/// Maps each of some buffers of one length in turn, and unmaps it again.
/// - Parameter buffers: One after the other.
/// - Returns: A sum that depends on what was copied; 0 where a mapping failed.
@inline(never)
func bounceWindow(
  _ window: inout BounceWindow, _ buffers: UnsafeMutableRawPointer, _ bufferCount: Int, _ byteCount: Int,
  _ direction: DMADirection, _ count: UInt32
) -> UInt64 {
  unsafe bounce(buffers, bufferCount, byteCount, count) { (bytes) throws(IOTLBError) in
    try window.unmap(try unsafe window.map(bytes, direction))
  }
}

/// The same through the domain, which has a lock.
@inline(never)
func bounceDomain(
  _ domain: IOTLBDomain, _ buffers: UnsafeMutableRawPointer, _ bufferCount: Int, _ byteCount: Int,
  _ direction: DMADirection, _ count: UInt32
) -> UInt64 {
  unsafe bounce(buffers, bufferCount, byteCount, count) { (bytes) throws(IOTLBError) in
    try domain.unmap(try unsafe domain.map(bytes, direction))
  }
}

/// What both loops do, for the compiler to make each of.
@inline(__always)
private func bounce(
  _ buffers: UnsafeMutableRawPointer, _ bufferCount: Int, _ byteCount: Int, _ count: UInt32,
  mapAndUnmap: (UnsafeMutableRawBufferPointer) throws(IOTLBError) -> Void
) -> UInt64 {
  var sum: UInt64 = 0
  var buffer = unsafe buffers
  let end = unsafe buffers + bufferCount * byteCount
  var index: UInt32 = 0
  do throws(IOTLBError) {
    while index != count {
      try unsafe mapAndUnmap(UnsafeMutableRawBufferPointer(start: buffer, count: byteCount))
      sum &+= UInt64(unsafe buffer.load(as: UInt8.self))
      unsafe buffer += byteCount
      if unsafe buffer == end { unsafe buffer = unsafe buffers }
      index &+= 1
    }
  } catch {
    return 0
  }
  return sum
}
