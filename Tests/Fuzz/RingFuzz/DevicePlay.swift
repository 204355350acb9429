// SPDX-License-Identifier: Apache-2.0
import DMACore
import Virtqueues

/// What both device types can do.
protocol DeviceSide: ~Copyable {
  mutating func take<Translator: IOVATranslator & ~Copyable>(
    through translator: borrowing Translator
  ) throws(QueueError) -> QueueChain?
  func segment(_ index: Int) -> QueueSegment
  mutating func undoTake(_ chain: QueueChain)
  mutating func complete(_ chain: QueueChain, writtenByteCount: UInt32)
  mutating func resume(_ chain: QueueChain) throws(QueueError)
  mutating func publish() -> Bool
  mutating func disarmKicks()
  mutating func armKicks() -> Bool
  func isInFlight(_ id: UInt16) -> Bool
  var inFlightCount: Int { get }
  var size: Int { get }
}

extension SplitQueueDevice: DeviceSide {}
extension PackedQueueDevice: DeviceSide {}

/// Plays a script against a device's queue, and keeps to the rules of its own side.
func play<Device: DeviceSide & ~Copyable>(
  _ script: inout Script, _ device: inout Device, _ ring: HostileRing,
  other: (inout Script, inout Device) -> Void
) {
  var chains: [QueueChain] = []
  while !script.isAtEnd {
    switch script.byte() & 15 {
    case 0...5: ring.scribble(&script)
    case 6...8:
      guard let chain = try? device.take(through: ring) else { continue }
      check(chain, device)
      chains.append(chain)
    case 9, 10:
      guard !chains.isEmpty else { continue }
      let chain = chains.remove(at: Int(script.byte()) % chains.count)
      device.complete(chain, writtenByteCount: chain.writableByteCount / UInt32(script.byte() % 3 + 1))
    case 11: _ = device.publish()
    case 12: if script.byte() & 1 == 0 { _ = device.armKicks() } else { device.disarmKicks() }
    case 13:
      if let chain = try? device.take(through: ring) { device.undoTake(chain) }
    case 14:
      let chain = QueueChain(
        id: UInt16(script.byte() % 20), slotCount: UInt16(script.byte() % 20), segmentCount: 1,
        readableSegmentCount: 0, readableByteCount: 0, writableByteCount: 512)
      if (try? device.resume(chain)) != nil { chains.append(chain) }
    default: other(&script, &device)
    }
    for chain in chains { precondition(device.isInFlight(chain.id), "a chain in flight is known as one") }
  }
}

/// What holds for every chain that is handed out, whatever the driver does.
private func check<Device: DeviceSide & ~Copyable>(_ chain: QueueChain, _ device: borrowing Device) {
  precondition(Int(chain.id) < device.size && device.inFlightCount <= device.size && chain.segmentCount > 0)
  var (readable, writable) = (UInt64(0), UInt64(0))
  for index in 0..<Int(chain.segmentCount) {
    let segment = device.segment(index)
    precondition(segment.byteCount > 0 && segment.isWritable == (index >= chain.readableSegmentCount))
    precondition(!segment.iova.rawValue.addingReportingOverflow(UInt64(segment.byteCount) - 1).overflow)
    if segment.isWritable {
      writable += UInt64(segment.byteCount)
    } else {
      readable += UInt64(segment.byteCount)
    }
  }
  precondition(readable == chain.readableByteCount && writable == chain.writableByteCount)
}
