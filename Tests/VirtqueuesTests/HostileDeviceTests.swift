// SPDX-License-Identifier: Apache-2.0
import DMACore
import Testing
import Virtqueues

/// What a hostile device writes ends in an error that says what and where, and in a broken queue.
@Suite struct HostileDeviceTests {
  /// A driver over memory in which the test writes what the device would.
  struct Rig<Driver: DriverSide & ~Copyable>: ~Copyable {
    var driver: Driver
    let memory: RingMemory

    /// Adds a chain with 100 writable bytes.
    mutating func add(token: UInt64) -> Bool {
      driver.add([QueueSegment(iova: IOVA(0x5000), byteCount: 100, isWritable: true)], token: token)
    }

    func store<Word: BitwiseCopyable>(_ value: Word, at offset: Int) {
      unsafe UnsafeMutableRawPointer(bitPattern: memory.base + UInt(offset))?
        .storeBytes(of: value, as: Word.self)
    }

    /// What the driver finds, which must stay so.
    mutating func failure() -> QueueError? {
      var found: QueueError?
      do throws(QueueError) { _ = try driver.takeUsed() } catch { found = error }
      #expect(found == driver.brokenBy)
      var again: QueueError?
      do throws(QueueError) { _ = try driver.takeUsed() } catch { again = error }
      #expect(again == found)
      let (isAdded, kicks, sleeps) = (add(token: 99), driver.publish(), driver.armInterrupts())
      #expect(!isAdded && !kicks && sleeps, "a broken queue does nothing more")
      return found
    }
  }

  private static func split(_ features: QueueFeatures = []) throws -> Rig<SplitQueueDriver> {
    let space = RingSpace()
    let memory = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite, sharing: .coherent)
    let view = space.deviceView(of: memory)
    return Rig(
      driver: SplitQueueDriver(memory: memory, layout: SplitRingLayout(size: 8), features: features),
      memory: view)
  }

  private static func packed(_ features: QueueFeatures = []) throws -> Rig<PackedQueueDriver> {
    let space = RingSpace()
    let memory = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite, sharing: .coherent)
    let view = space.deviceView(of: memory)
    return Rig(
      driver: PackedQueueDriver(memory: memory, layout: PackedRingLayout(size: 8), features: features),
      memory: view)
  }

  private static let used = SplitRingLayout(size: 8).usedOffset

  @Test(arguments: [2, 0xffff] as [UInt16])
  func aUsedIndexTooFar(index: UInt16) throws {
    var rig = try Self.split()
    _ = rig.add(token: 1)
    _ = rig.driver.publish()
    rig.store(index, at: Self.used + 2)
    let failure = rig.failure()
    #expect(failure == QueueError(.usedIndexTooFar, value: UInt64(index)))
  }

  @Test func aChainThatTheDeviceWasNotTold() throws {
    var rig = try Self.split()
    _ = rig.add(token: 1)
    rig.store(UInt16(1), at: Self.used + 2)
    let failure = rig.failure()
    #expect(failure == QueueError(.usedIndexTooFar, value: 1))
  }

  @Test(arguments: [1, 8, 0x1_0000, 0xffff_ffff] as [UInt32])
  func aChainThatTheDeviceHasNot(id: UInt32) throws {
    var rig = try Self.split()
    _ = rig.add(token: 1)
    _ = rig.driver.publish()
    rig.store(id, at: Self.used + 4)
    rig.store(UInt16(1), at: Self.used + 2)
    let failure = rig.failure()
    #expect(failure == QueueError(.usedUnknown, value: UInt64(id)))
  }

  @Test func aChainThatComesBackTwice() throws {
    var rig = try Self.split()
    for token in 0..<2 { _ = rig.add(token: UInt64(token)) }
    _ = rig.driver.publish()
    rig.store(UInt16(2), at: Self.used + 2)
    let first = try rig.driver.takeUsed()
    #expect(first?.token == 0)
    let failure = rig.failure()
    #expect(failure == QueueError(.usedUnknown, index: 1, value: 0))
  }

  @Test func moreThanThereIsRoomFor() throws {
    var rig = try Self.split()
    _ = rig.add(token: 1)
    _ = rig.driver.publish()
    rig.store(UInt32(101), at: Self.used + 8)
    rig.store(UInt16(1), at: Self.used + 2)
    let failure = rig.failure()
    #expect(failure == QueueError(.writtenTooMuch, index: 0, value: 101))
  }

  @Test func aBatchThatIsLongerThanItsIndexSays() throws {
    var rig = try Self.split(.inOrder)
    for token in 0..<3 { _ = rig.add(token: UInt64(token)) }
    _ = rig.driver.publish()
    rig.store(UInt32(2), at: Self.used + 4)
    rig.store(UInt16(2), at: Self.used + 2)
    let failure = rig.failure()
    #expect(failure == QueueError(.outOfOrder, value: 2))
  }

  @Test func oneEntryReturnsABatch() throws {
    var rig = try Self.split(.inOrder)
    for token in 0..<3 { _ = rig.add(token: UInt64(token)) }
    _ = rig.driver.publish()
    rig.store(UInt32(2), at: Self.used + 4)
    rig.store(UInt32(5), at: Self.used + 8)
    rig.store(UInt16(3), at: Self.used + 2)
    try expectBatch(&rig.driver)
  }

  @Test func oneEntryOfAPackedRingReturnsABatch() throws {
    var rig = try Self.packed(.inOrder)
    for token in 0..<3 { _ = rig.add(token: UInt64(token)) }
    _ = rig.driver.publish()
    rig.store(UInt64(5) | 2 << 32 | 0x8082 << 48, at: 8)
    try expectBatch(&rig.driver)
  }

  /// Three chains come back: all of the first two was written, of the third 5 bytes.
  private func expectBatch(_ driver: inout some DriverSide & ~Copyable) throws {
    for (token, written) in [(0, 100), (1, 100), (2, 5)] as [(UInt64, UInt32)] {
      let sleeps = driver.armInterrupts()
      #expect(!sleeps)
      let used = try driver.takeUsed()
      #expect(used?.token == token && used?.writtenByteCount == written)
    }
    let (none, sleeps) = (try driver.takeUsed(), driver.armInterrupts())
    #expect(none == nil && sleeps && driver.freeCount == 8)
  }

  @Test(arguments: [1, 8, 0xffff] as [UInt64])
  func aBufferThatTheDeviceHasNot(id: UInt64) throws {
    var rig = try Self.packed()
    _ = rig.add(token: 1)
    _ = rig.driver.publish()
    rig.store(id << 32 | 0x8080 << 48, at: 8)
    let failure = rig.failure()
    #expect(failure == QueueError(.usedUnknown, value: id))
  }

  @Test func aBufferThatTheDeviceWasNotTold() throws {
    var rig = try Self.packed()
    _ = rig.add(token: 1)
    _ = rig.driver.publish()
    rig.store(UInt64(0) << 32 | 0x8080 << 48, at: 8)
    let first = try rig.driver.takeUsed()
    #expect(first?.token == 1)
    _ = rig.add(token: 2)
    rig.store(UInt64(0) << 32 | 0x8080 << 48, at: 24)
    let none = try rig.driver.takeUsed()
    #expect(none == nil, "nothing was published")
    // Two pieces that it was not told of, in the place of one that it was.
    _ = rig.driver.publish()
    let pieces = [QueueSegment](
      repeating: QueueSegment(iova: IOVA(0x5000), byteCount: 100, isWritable: true), count: 2)
    _ = rig.driver.add(pieces, token: 3)
    rig.store(UInt64(1) << 32 | 0x8080 << 48, at: 24)
    let failure = rig.failure()
    #expect(failure == QueueError(.usedUnknown, index: 1, value: 1))
    #expect(rig.driver.inFlightCount == 2, "neither came back")
  }

  @Test func moreThanABufferHasRoomFor() throws {
    var rig = try Self.packed()
    _ = rig.add(token: 1)
    _ = rig.driver.publish()
    rig.store(UInt64(101) | 0x8082 << 48, at: 8)
    let failure = rig.failure()
    #expect(failure == QueueError(.writtenTooMuch, index: 0, value: 101))
  }

  @Test func aLengthWithoutItsFlagIsNone() throws {
    var rig = try Self.packed()
    _ = rig.add(token: 1)
    _ = rig.driver.publish()
    rig.store(UInt64(0xffff_ffff) | 0x8080 << 48, at: 8)
    let used = try rig.driver.takeUsed()
    #expect(used?.writtenByteCount == 0)
  }
}
