// SPDX-License-Identifier: Apache-2.0
import DMACore
import Glibc
import Virtqueues

/// What a hostile driver, or a hostile device, does with a ring: the fuzzer's bytes say it.
///
/// The first bytes choose the format, the features, the side that is tested and the size. The rest is played as a script:
/// each step writes bytes into the memory of the ring, or calls the queue. Every part of the ring and the table has its own
/// block of the heap of exactly its length, so that AddressSanitizer sees each access beside it.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  var script = unsafe Script(UnsafeBufferPointer(start: bytes, count: count))
  let choice = script.byte()
  let features = QueueFeatures(rawValue: UInt64(choice & 3) << 28 | UInt64(choice >> 2 & 1) << 35)
  let size = Int(script.byte() % 16) + 1
  switch choice >> 3 & 3 {
  case 0:
    guard SplitRingLayout.isValid(size: size) else { return 0 }
    let ring = HostileRing(descriptors: 16 * size, first: 6 + 2 * size, second: 6 + 8 * size, isPacked: false)
    let state = SplitQueueState(availableIndex: script.word(), usedIndex: script.word())
    guard
      var device = try? SplitQueueDevice(
        size: size, descriptors: ring.descriptors.area, available: ring.first.area, used: ring.second.area,
        features: features, segmentLimit: Int(script.byte()) + 1, state: state)
    else { return 0 }
    play(&script, &device, ring) { script, device in
      switch script.byte() & 1 {
      case 0: _ = try? device.retake(UInt16(script.byte()), through: ring)
      default: _ = device.publishedHead(at: script.word())
      }
    }
  case 1:
    let ring = HostileRing(descriptors: 16 * size, first: 4, second: 4, isPacked: true)
    let state = PackedQueueState(
      availableIndex: script.word() & 15, availableWrap: script.byte() & 1 == 0,
      usedIndex: script.word() & 15, usedWrap: script.byte() & 1 == 0)
    guard
      var device = try? PackedQueueDevice(
        size: size, descriptors: ring.descriptors.area, driverEvent: ring.first.area,
        deviceEvent: ring.second.area, features: features, segmentLimit: Int(script.byte()) + 1, state: state)
    else { return 0 }
    play(&script, &device, ring) { _, _ in }
  default:
    unsafe DriverStand.shared.play(&script, features, size: size, isPacked: choice >> 3 & 1 != 0)
  }
  return 0
}
