// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import Virtqueues

/// Where the three parts of a ring are in this process.
package struct QueueAreas {
  let size: Int
  let isPacked: Bool
  let descriptors: RingArea
  /// What the driver writes: the available ring, or when it wants interrupts.
  let driver: RingArea
  /// What the device writes: the used ring, or when it wants kicks.
  let device: RingArea

  /// Nil where the driver's numbers are no ring, or not yet: they may be on their way.
  package init?(_ info: VDUSEQueueInfo, isPacked: Bool, _ memory: borrowing IOTLBCache) {
    let size = info.size
    guard isPacked ? PackedRingLayout.isValid(size: size) : SplitRingLayout.isValid(size: size) else {
      return nil
    }
    func area(_ start: IOVA, _ byteCount: Int, writable: Bool) -> RingArea? {
      guard let bytes = unsafe memory.bytes(at: start, byteCount: byteCount, writable: writable) else {
        return nil
      }
      return unsafe RingArea(unsafeStart: bytes, byteCount: byteCount)
    }
    let driverByteCount =
      isPacked ? PackedRingLayout.eventByteCount : SplitRingLayout.availableByteCount(size: size)
    let deviceByteCount =
      isPacked ? PackedRingLayout.eventByteCount : SplitRingLayout.usedByteCount(size: size)
    guard
      // The device writes into the descriptors of a packed ring.
      let descriptors = area(
        info.descriptors, SplitRingLayout.descriptorByteCount(size: size), writable: isPacked),
      let driver = area(info.driverArea, driverByteCount, writable: false),
      let device = area(info.deviceArea, deviceByteCount, writable: true)
    else { return nil }
    (self.size, self.isPacked) = (size, isPacked)
    (self.descriptors, self.driver, self.device) = (descriptors, driver, device)
  }
}
