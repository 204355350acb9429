// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import Synchronization
import Virtqueues

/// An address space that remembers where the pages lie that it mapped last.
final class RingSpace: AddressSpace {
  let label = "ring space"
  let granuleByteCount = 4096
  let reservations = IOVAReservations(
    allowed: [IOVARange(start: IOVA(0x1_0000), last: IOVA((1 << 40) - 1))])
  private let lastBase = Mutex<UInt>(0)

  @unsafe
  func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    lastBase.withLock { $0 = UInt(bitPattern: base) }
  }

  func unmapPages(_ range: IOVARange) throws(KernelError) {}

  func deviceView(of memory: borrowing DMAMemory) -> RingMemory {
    RingMemory(base: lastBase.withLock { $0 }, iova: memory.iova, byteCount: memory.byteCount)
  }
}

/// The device's view of the memory with a ring and its tables: alive as long as the driver's queue.
struct RingMemory: IOVATranslator, Sendable {
  let base: UInt
  let iova: IOVA
  let byteCount: Int

  func area(_ offset: Int, _ byteCount: Int) -> RingArea {
    precondition(offset >= 0 && offset + byteCount <= self.byteCount)
    return unsafe RingArea(
      unsafeStart: UnsafeMutableRawPointer(bitPattern: base + UInt(offset)).unsafelyUnwrapped,
      byteCount: byteCount)
  }

  func area(at address: IOVA, _ byteCount: Int) -> RingArea {
    area(Int(address.rawValue - iova.rawValue), byteCount)
  }

  @unsafe
  func readableBytes(at start: IOVA, byteCount: Int) -> UnsafeRawPointer? {
    guard byteCount <= self.byteCount, start >= iova,
      start.rawValue - iova.rawValue <= UInt64(self.byteCount - byteCount)
    else { return nil }
    return unsafe UnsafeRawPointer(bitPattern: base + UInt(start.rawValue - iova.rawValue))
  }
}
