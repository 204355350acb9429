// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import Synchronization

// Each loop is its own function of the binary: the profiler and hotcheck find it by its name. Lengths and
// limits are known at run time only, so that nothing is decided by the compiler.

/// Allocates and frees one length.
@inline(never)
func iovaSame(
  _ allocator: inout IOVAAllocator, _ byteCount: UInt64, _ alignment: UInt64, _ limit: IOVA, _ count: UInt32
) -> UInt64 {
  var sum: UInt64 = 0
  var index: UInt32 = 0
  do throws(IOVAAllocator.Failure) {
    while index != count {
      let range = try allocator.allocate(byteCount: byteCount, alignment: alignment, upTo: limit)
      sum &+= range.start.rawValue
      try allocator.deallocate(range)
      index &+= 1
    }
  } catch {
    return 0
  }
  return sum
}

/// Allocates and frees: lengths of 1, 2, 4 and 8 pages in turn.
@inline(never)
func iovaPair(_ allocator: inout IOVAAllocator, _ alignment: UInt64, _ limit: IOVA, _ count: UInt32) -> UInt64
{
  var sum: UInt64 = 0
  var index: UInt32 = 0
  do throws(IOVAAllocator.Failure) {
    while index != count {
      let byteCount = 4096 &<< UInt64(index & 3)
      let range = try allocator.allocate(byteCount: byteCount, alignment: alignment, upTo: limit)
      sum &+= range.start.rawValue
      try allocator.deallocate(range)
      index &+= 1
    }
  } catch {
    return 0
  }
  return sum
}

/// Frees the oldest of 64 ranges and allocates one as long.
@inline(never)
func iovaRing(
  _ allocator: inout IOVAAllocator, _ live: UnsafeMutablePointer<IOVARange>, _ alignment: UInt64,
  _ limit: IOVA,
  _ count: UInt32
) -> UInt64 {
  var sum: UInt64 = 0
  var index: UInt32 = 0
  do throws(IOVAAllocator.Failure) {
    while index != count {
      let byteCount = 4096 &<< UInt64(index & 3)
      let place = unsafe live + Int(index & 63)
      try allocator.deallocate(unsafe place.pointee)
      let range = try allocator.allocate(byteCount: byteCount, alignment: alignment, upTo: limit)
      unsafe place.pointee = range
      sum &+= range.start.rawValue
      index &+= 1
    }
  } catch {
    return 0
  }
  return sum
}

/// As `iovaPair`, each call under a lock.
@inline(never)
func iovaLockedPair(
  _ allocator: borrowing Mutex<IOVAAllocator>, _ alignment: UInt64, _ limit: IOVA, _ count: UInt32
) -> UInt64 {
  var sum: UInt64 = 0
  var index: UInt32 = 0
  do throws(IOVAAllocator.Failure) {
    while index != count {
      let byteCount = 4096 &<< UInt64(index & 3)
      let range = try allocator.withLock { allocator throws(IOVAAllocator.Failure) in
        try allocator.allocate(byteCount: byteCount, alignment: alignment, upTo: limit)
      }
      sum &+= range.start.rawValue
      try allocator.withLock { allocator throws(IOVAAllocator.Failure) in try allocator.deallocate(range) }
      index &+= 1
    }
  } catch {
    return 0
  }
  return sum
}

/// Looks up 2^14 addresses again and again.
@inline(never)
func iovaLookup(_ map: borrowing IOVAMap, _ queries: UnsafePointer<UInt64>, _ count: UInt32) -> UInt64 {
  var sum: UInt64 = 0
  var index: UInt32 = 0
  while index != count {
    guard let slot = map.slot(at: IOVA(unsafe queries[Int(index & 0x3fff)])) else { return 0 }
    sum &+= UInt64(slot)
    index &+= 1
  }
  return sum
}
