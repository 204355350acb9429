// SPDX-License-Identifier: Apache-2.0
import DMACore
import Testing
import Virtqueues

/// A server that is gone, and another one that goes on in its place.
@Suite struct RestartTests {
  private let ring = RawRing(isPacked: false)
  private let packedRing = RawRing(isPacked: true)

  /// Offers the chains 0 to 4: one piece each.
  private func offerFive() {
    for index in 0..<5 { ring.descriptor(index, 0x1000 * UInt64(index + 1), 512, 2) }
    ring.offer(0, 1, 2, 3, 4)
  }

  @Test func aSplitQueueGoesOnWithWhatWasInFlight() throws {
    offerFive()
    var first = try ring.splitDevice()
    var chains: [QueueChain] = []
    for _ in 0..<4 { if let chain = try take(&first) { chains.append(chain) } }
    first.complete(chains[2], writtenByteCount: 512)
    _ = first.publish()
    #expect(first.state == SplitQueueState(availableIndex: 4, usedIndex: 1))
    var inFlight: [UInt16] = []
    for id in [0, 1, 2, 3, 4, 9] as [UInt16] where first.isInFlight(id) { inFlight.append(id) }
    #expect(inFlight == [0, 1, 3])

    // The kernel knows the available index; the ring has the other one.
    let used = SplitQueueDevice.publishedUsedIndex(of: ring.usedArea)
    var second = try ring.splitDevice(state: SplitQueueState(availableIndex: 4, usedIndex: used))
    let published = second.publishedHead(at: 0)
    #expect(used == 1 && published == 2)
    try second.resume(chains[0])
    let again = try second.retake(1, through: ring.pages.memory)
    let segment = second.segment(0)
    #expect(again == chains[1] && segment.iova == IOVA(0x2000))
    try second.resume(chains[3])
    let next = try take(&second)
    #expect(next?.id == 4 && second.inFlightCount == 4)
    for chain in [chains[3], chains[0], again] { second.complete(chain, writtenByteCount: 1) }
    let interrupts = second.publish()
    #expect(interrupts && ring.usedIndex == 4)
    var heads: [UInt16?] = []
    for index in 0..<4 as Range<UInt16> { heads.append(second.publishedHead(at: index)) }
    #expect(heads == [2, 3, 0, 1])
  }

  @Test func whatALogMayNotSay() throws {
    offerFive()
    var first = try ring.splitDevice()
    let taken = try take(&first)
    let chain = try #require(taken)
    var second = try ring.splitDevice(state: SplitQueueState(availableIndex: 1, usedIndex: 0))
    try second.resume(chain)
    var third = try ring.splitDevice(state: SplitQueueState(availableIndex: 2, usedIndex: 0))
    try third.resume(chain)
    let other = QueueChain(
      id: 8, slotCount: 1, segmentCount: 1, readableSegmentCount: 0, readableByteCount: 0,
      writableByteCount: 1)
    var errors: [QueueError] = []
    do throws(QueueError) { try second.resume(with(id: 1, other)) } catch { errors.append(error) }
    do throws(QueueError) { try third.resume(chain) } catch { errors.append(error) }
    do throws(QueueError) { try third.resume(other) } catch { errors.append(error) }
    #expect(errors.map(\.code) == [.badState, .badState, .badState])
    #expect(errors.map(\.value) == [1, 0, 8], "one too many, one twice, one that cannot be")
    #expect(third.brokenBy == nil, "the log is wrong, not the driver")
  }

  @Test func aRetakenChainIsCheckedAgain() throws {
    offerFive()
    ring.descriptor(3, 0x5000, 0, 0)
    var device = try ring.splitDevice(state: SplitQueueState(availableIndex: 4, usedIndex: 0))
    var found: QueueError?
    do throws(QueueError) { _ = try device.retake(3, through: NoTranslation()) } catch { found = error }
    #expect(found == QueueError(.zeroLength, index: 3, value: 0x5000) && device.brokenBy == found)
  }

  @Test func aPackedQueueGoesOnWithWhatWasInFlight() throws {
    // Chains of 3, 2 and 1 entries, with the identities 5, 6 and 7.
    for (index, id) in [5, 5, 5, 6, 6, 7].enumerated() {
      packedRing.descriptor(
        index, 0x5000, 512, [0, 1, 3].contains(index) ? 3 : 2, nextOrID: UInt16(id))
    }
    var first = try packedRing.packedDevice()
    var chains: [QueueChain] = []
    for _ in 0..<3 {
      let chain = try first.take(through: NoTranslation())
      chains.append(try #require(chain))
    }
    #expect(chains.map(\.slotCount) == [3, 2, 1] && chains.map(\.id) == [5, 6, 7])
    first.complete(chains[1], writtenByteCount: 512)
    _ = first.publish()
    let state = first.state
    #expect(state == PackedQueueState(availableIndex: 6, usedIndex: 2))

    var second = try packedRing.packedDevice(state: state)
    try second.resume(chains[2])
    try second.resume(chains[0])
    var found: QueueError?
    do throws(QueueError) { try second.resume(chains[1]) } catch { found = error }
    #expect(found == QueueError(.badState, value: 6))
    second.complete(chains[0], writtenByteCount: 1)
    second.complete(chains[2], writtenByteCount: 2)
    let interrupts = second.publish()
    #expect(interrupts)
    #expect(second.state == PackedQueueState(availableIndex: 6, usedIndex: 6))
    #expect(packedRing.rest(of: 2) == UInt64(1) | 5 << 32 | 0x8082 << 48)
    #expect(packedRing.rest(of: 5) == UInt64(2) | 7 << 32 | 0x8082 << 48)
  }

  private func take(_ device: inout SplitQueueDevice) throws(QueueError) -> QueueChain? {
    try device.take(through: ring.pages.memory)
  }

  private func with(id: UInt16, _ chain: QueueChain) -> QueueChain {
    QueueChain(
      id: id, slotCount: chain.slotCount, segmentCount: chain.segmentCount,
      readableSegmentCount: chain.readableSegmentCount, readableByteCount: chain.readableByteCount,
      writableByteCount: chain.writableByteCount)
  }
}
