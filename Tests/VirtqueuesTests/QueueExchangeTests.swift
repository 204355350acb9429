// SPDX-License-Identifier: Apache-2.0
import DMACore
import TestSupport
import Testing
import Virtqueues

/// A driver and a device that both keep to the rules, over the same memory.
@Suite struct QueueExchangeTests {
  @Test(arguments: SeededNumbers.seeds("QUEUE_SEED"), QueueKind.all(sizes: [1, 2, 8, 64, 3, 7]))
  func anyOrderOfStepsAgreesWithAModel(seed: UInt64, kind: QueueKind) throws {
    var exchange = RandomExchange(kind: kind, seed: seed, steps: 500)
    try kind.run(&exchange)
  }

  // Tables have no part in it.
  @Test(arguments: QueueKind.all(sizes: [4, 5]).filter { !$0.features.contains(.indirectDescriptors) })
  func indicesAndWrapCountersWrap(kind: QueueKind) throws {
    // A split ring's indices have 16 bits; a packed one's counters change with each round.
    var exchange = LongExchange(roundCount: kind.isPacked ? 500 : 22_000)
    try kind.run(&exchange)
    #expect(kind.isPacked || exchange.exchanged > 1 << 16)
  }

  @Test(arguments: [false, true])
  func theLargestRingTakesItsWholeSizeInOneChain(isPacked: Bool) throws {
    var exchange = OneChain(pieceCount: 32768)
    try QueueKind(isPacked: isPacked, features: [], size: 32768, tableLength: 0).run(&exchange)
  }
}

/// Chains of 1, 2 and 3 pieces, in turn, one at a time; notifications are armed each time.
struct LongExchange: QueueScenario {
  let roundCount: Int
  var exchanged = 0

  init(roundCount: Int) { self.roundCount = roundCount }

  mutating func run<Driver: DriverSide & ~Copyable, Device: DeviceSide & ~Copyable>(
    _ driver: inout Driver, _ device: inout Device, _ memory: RingMemory
  ) throws {
    let piece = QueueSegment(iova: IOVA(0x1000), byteCount: 512, isWritable: true)
    for _ in 0..<roundCount {
      for count in 1...3 {
        let sleeps = (device.armKicks(), driver.armInterrupts())
        let isAdded = driver.add([QueueSegment](repeating: piece, count: count), token: UInt64(exchanged))
        let kicks = driver.publish()
        try #require(sleeps == (true, true) && isAdded && kicks)
        let taken = try device.take(through: memory)
        let chain = try #require(taken)
        try #require(chain.segmentCount == count)
        device.complete(chain, writtenByteCount: 1)
        let interrupts = device.publish()
        let used = try driver.takeUsed()
        try #require(interrupts && used?.token == UInt64(exchanged))
        exchanged += 1
      }
    }
  }
}

/// One chain of many pieces.
struct OneChain: QueueScenario {
  let pieceCount: Int

  func run<Driver: DriverSide & ~Copyable, Device: DeviceSide & ~Copyable>(
    _ driver: inout Driver, _ device: inout Device, _ memory: RingMemory
  ) throws {
    let pieces = (0..<pieceCount).map {
      QueueSegment(iova: IOVA(UInt64($0) << 12), byteCount: 4096, isWritable: $0 != 0)
    }
    let (isAdded, fitsAnother) = (driver.add(pieces, token: 7), driver.add([pieces[0]], token: 8))
    try #require(isAdded && !fitsAnother)
    _ = driver.publish()
    let taken = try device.take(through: memory)
    let chain = try #require(taken)
    let found = device.segments(of: chain)
    try #require(found == pieces)
    device.complete(chain, writtenByteCount: chain.writableByteCount)
    _ = device.publish()
    let used = try driver.takeUsed()
    try #require(used?.writtenByteCount == UInt32(pieceCount - 1) * 4096)
    try #require(driver.freeCount == pieceCount)
  }
}
