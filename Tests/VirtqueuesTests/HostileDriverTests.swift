// SPDX-License-Identifier: Apache-2.0
import Testing
import Virtqueues

/// What a hostile driver writes ends in an error that says what and where, and in a broken queue.
@Suite struct HostileDriverTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let name: String
    let error: QueueError
    var features: QueueFeatures = [.indirectDescriptors]
    var segmentLimit: Int?
    let write: @Sendable (RawRing) -> Void

    init(
      _ name: String, _ code: QueueError.Code, index: UInt16 = 0, value: UInt64 = 0,
      features: QueueFeatures = [.indirectDescriptors], segmentLimit: Int? = nil,
      _ write: @escaping @Sendable (RawRing) -> Void
    ) {
      self.name = name
      error = QueueError(code, index: index, value: value)
      self.features = features
      self.segmentLimit = segmentLimit
      self.write = write
    }

    var testDescription: String { name }
  }

  @Test(arguments: splitCases + commonCases)
  func aSplitRingIsBroken(by hostile: Case) throws {
    let ring = RawRing(isPacked: false)
    hostile.write(ring)
    var device = try ring.splitDevice(features: hostile.features, segmentLimit: hostile.segmentLimit)
    try expect(hostile.error, &device, ring)
    #expect(ring.usedIndex == 0, "a broken queue writes nothing")
  }

  @Test(arguments: packedCases + commonCases)
  func aPackedRingIsBroken(by hostile: Case) throws {
    let ring = RawRing(isPacked: true)
    hostile.write(ring)
    var device = try ring.packedDevice(features: hostile.features, segmentLimit: hostile.segmentLimit)
    try expect(hostile.error, &device, ring)
  }

  /// Takes all that can be taken; then comes the error, again and again, and nothing else.
  private func expect<Device: DeviceSide & ~Copyable>(
    _ expected: QueueError, _ device: inout Device, _ ring: RawRing
  ) throws {
    var chains: [QueueChain] = []
    var found: QueueError?
    do throws(QueueError) {
      while let chain = try device.take(through: ring.pages.memory) { chains.append(chain) }
    } catch {
      found = error
    }
    #expect(found == expected)
    #expect(device.brokenBy == expected)
    do throws(QueueError) {
      _ = try device.take(through: ring.pages.memory)
      Issue.record("a broken queue goes on")
    } catch {
      #expect(error == expected)
    }
    for chain in chains { device.complete(chain, writtenByteCount: 0) }
    let interrupts = device.publish()
    #expect(!interrupts)
  }

  // MARK: Both formats

  private static let table = RawRing.address(RawRing.tableOffset)

  static let commonCases = [
    Case("a piece has no bytes", .zeroLength, value: 0x5000) { ring in
      ring.descriptor(0, 0x5000, 0, 0)
      ring.offer(0)
    },
    Case("a piece passes the end of addresses", .addressOverflow, value: .max - 510) { ring in
      ring.descriptor(0, .max - 510, 512, 2)
      ring.offer(0)
    },
    Case("a readable piece after a writable one", .readableAfterWritable, index: 1, value: 0x6000) { ring in
      ring.descriptor(0, 0x5000, 512, 3, nextOrID: 1)
      ring.descriptor(1, 0x6000, 512, 0)
      ring.offer(0)
    },
    Case("2^32 bytes", .tooManyBytes, value: 1 << 32) { ring in
      ring.descriptor(0, 0x5000, 1 << 31, 1, nextOrID: 1)
      ring.descriptor(1, 0x6000, 1 << 31, 2)
      ring.offer(0)
    },
    Case("more pieces than the device takes", .tooManySegments, index: 1, value: 1, segmentLimit: 1) { ring in
      ring.descriptor(0, 0x5000, 16, 1, nextOrID: 1)
      ring.descriptor(1, 0x6000, 16, 0)
      ring.offer(0)
    },
    Case("a table without the feature", .unexpectedIndirect, value: table, features: []) { ring in
      ring.descriptor(0, table, 16, 4)
      ring.offer(0)
    },
    Case("a table and a next descriptor", .indirectNotAlone, value: table) { ring in
      ring.descriptor(0, table, 16, 5, nextOrID: 1)
      ring.offer(0)
    },
    Case("an empty table", .indirectLength) { ring in
      ring.descriptor(0, table, 0, 4)
      ring.offer(0)
    },
    Case("a table with half a descriptor", .indirectLength, value: 24) { ring in
      ring.descriptor(0, table, 24, 4)
      ring.offer(0)
    },
    Case("a table of 2^28 descriptors", .indirectLength, value: 0xffff_fff0) { ring in
      ring.descriptor(0, table, 0xffff_fff0, 4)
      ring.offer(0)
    },
    Case("a table that is not mapped", .indirectUnmapped, value: 0x5000) { ring in
      ring.descriptor(0, 0x5000, 16, 4)
      ring.offer(0)
    },
    Case("a table of which the end is not mapped", .indirectUnmapped, value: RawRing.address(4 * 4096 - 16)) {
      ring in
      ring.descriptor(0, RawRing.address(4 * 4096 - 16), 32, 4)
      ring.offer(0)
    },
    Case("a table that passes the end of addresses", .indirectUnmapped, value: .max - 15) { ring in
      ring.descriptor(0, .max - 15, 32, 4)
      ring.offer(0)
    },
    Case("a table at an odd address", .indirectUnmapped, value: table + 4) { ring in
      ring.descriptor(0, table + 4, 16, 4)
      ring.offer(0)
    },
    Case("a piece of a table has no bytes", .zeroLength, index: 1, value: 0x6000) { ring in
      ring.descriptor(0, table, 32, 4)
      ring.tableDescriptor(0, 0x5000, 16, 1, next: 1)
      ring.tableDescriptor(1, 0x6000, 0, 0)
      ring.offer(0)
    },
    Case("a readable piece after a writable one in a table", .readableAfterWritable, index: 1, value: 0x6000)
    {
      ring in
      ring.descriptor(0, table, 32, 4)
      ring.tableDescriptor(0, 0x5000, 16, 3, next: 1)
      ring.tableDescriptor(1, 0x6000, 16, 0)
      ring.offer(0)
    },
    Case("more pieces in a table than the ring has", .tooManySegments, index: 8, value: 8) { ring in
      ring.descriptor(0, table, 9 * 16, 4)
      for index in 0..<9 {
        ring.tableDescriptor(index, 0x5000, 16, index < 8 ? 1 : 0, next: UInt16(index + 1))
      }
      ring.offer(0)
    },
  ]

  // MARK: Split

  static let splitCases = [
    Case("more chains than entries", .availableIndexTooFar, value: 9) { $0.offer(0, index: 9) },
    Case("an index behind", .availableIndexTooFar, value: 0xffff) { $0.offer(0, index: 0xffff) },
    Case("a head out of range", .headOutOfRange, value: 8) { $0.offer(8) },
    Case("a head out of range by far", .headOutOfRange, value: 0xffff) { $0.offer(0xffff) },
    Case("a head twice", .alreadyInFlight, index: 1, value: 3) { ring in
      ring.descriptor(3, 0x5000, 16, 0)
      ring.offer(3, 3)
    },
    Case("a next descriptor out of range", .descriptorOutOfRange, index: 2, value: 8) { ring in
      ring.descriptor(2, 0x5000, 16, 1, nextOrID: 8)
      ring.offer(2)
    },
    Case("a chain that is its own next", .descriptorLoop, index: 5, value: 8, segmentLimit: 64) { ring in
      ring.descriptor(5, 0x5000, 16, 1, nextOrID: 5)
      ring.offer(5)
    },
    Case("a loop of two", .descriptorLoop, index: 2, value: 8, segmentLimit: 64) { ring in
      ring.descriptor(1, 0x5000, 16, 1, nextOrID: 2)
      ring.descriptor(2, 0x5000, 16, 1, nextOrID: 1)
      ring.offer(1)
    },
    Case("a table in a table", .nestedIndirect, value: table) { ring in
      ring.descriptor(0, table, 16, 4)
      ring.tableDescriptor(0, table, 16, 4)
      ring.offer(0)
    },
    Case("a next descriptor outside the table", .descriptorOutOfRange, value: 2) { ring in
      ring.descriptor(0, table, 32, 4)
      ring.tableDescriptor(0, 0x5000, 16, 1, next: 2)
      ring.offer(0)
    },
    Case("a loop in a table", .descriptorLoop, index: 1, value: 2) { ring in
      ring.descriptor(0, table, 32, 4)
      ring.tableDescriptor(0, 0x5000, 16, 1, next: 1)
      ring.tableDescriptor(1, 0x5000, 16, 1, next: 0)
      ring.offer(0)
    },
  ]

  // MARK: Packed

  static let packedCases = [
    Case("an identity out of range", .identityOutOfRange, value: 8) { ring in
      ring.descriptor(0, 0x5000, 16, 0, nextOrID: 8)
    },
    Case("an identity twice", .alreadyInFlight, index: 1, value: 3) { ring in
      ring.descriptor(0, 0x5000, 16, 0, nextOrID: 3)
      ring.descriptor(1, 0x5000, 16, 0, nextOrID: 3)
    },
    Case("a chain round the whole ring", .descriptorLoop, index: 7, value: 8, segmentLimit: 64) { ring in
      for index in 0..<8 { ring.descriptor(index, 0x5000, 16, 1) }
    },
    Case("a chain into one in flight", .descriptorLoop, index: 7, value: 6, segmentLimit: 64) { ring in
      ring.descriptor(0, 0x5000, 16, 1)
      ring.descriptor(1, 0x5000, 16, 0, nextOrID: 1)
      for index in 2..<8 { ring.descriptor(index, 0x5000, 16, 1) }
    },
    Case("a table after a piece", .indirectNotAlone, index: 1, value: table) { ring in
      ring.descriptor(0, 0x5000, 16, 1)
      ring.descriptor(1, table, 16, 4)
    },
  ]

  @Test func aFullPackedRingThatGoesOnIsBroken() throws {
    let ring = RawRing(isPacked: true)
    for index in 0..<8 { ring.descriptor(index, 0x5000, 16, 0, nextOrID: UInt16(index)) }
    var device = try ring.packedDevice()
    for _ in 0..<8 { _ = try device.take(through: NoTranslation()) }
    // Available in the second round, though the device has not used it in the first.
    ring.flags(1 << 15, of: 0)
    var found: QueueError?
    do throws(QueueError) { _ = try device.take(through: NoTranslation()) } catch { found = error }
    #expect(found == QueueError(.availableIndexTooFar))
  }

  @Test(arguments: [0, 3, 6, 65536, -1])
  func aSizeThatNoSplitRingHas(size: Int) {
    let area = RawRing(isPacked: false).pages.memory.area(0, 4096)
    #expect(throws: QueueError(.badLayout, value: UInt64(max(0, size)))) {
      _ = try SplitQueueDevice(size: size, descriptors: area, available: area, used: area, features: [])
    }
  }

  @Test func areasThatAreTooShortOrNotAligned() {
    let memory = RawRing(isPacked: false).pages.memory
    let area = memory.area(0, 4096)
    #expect(throws: QueueError(.badLayout, value: 127)) {
      _ = try SplitQueueDevice(
        size: 8, descriptors: memory.area(0, 127), available: area, used: area, features: [])
    }
    #expect(throws: QueueError(.badLayout, value: 21)) {
      _ = try SplitQueueDevice(
        size: 8, descriptors: area, available: memory.area(0, 21), used: area, features: [])
    }
    #expect(throws: QueueError(.badLayout, value: 69)) {
      _ = try SplitQueueDevice(
        size: 8, descriptors: area, available: area, used: memory.area(0, 69), features: [])
    }
    #expect(throws: QueueError(.badLayout, value: UInt64(memory.base) + 8)) {
      _ = try SplitQueueDevice(
        size: 8, descriptors: memory.area(8, 128), available: area, used: area, features: [])
    }
    #expect(throws: QueueError(.badLayout, value: 3)) {
      _ = try PackedQueueDevice(
        size: 8, descriptors: area, driverEvent: memory.area(0, 3), deviceEvent: area, features: [])
    }
    #expect(throws: QueueError(.badLayout, value: UInt64(memory.base) + 2)) {
      _ = try PackedQueueDevice(
        size: 8, descriptors: area, driverEvent: area, deviceEvent: memory.area(2, 4), features: [])
    }
  }

  @Test func statesThatContradictThemselves() {
    let ring = RawRing(isPacked: false)
    #expect(throws: QueueError(.badState, value: 9)) {
      _ = try ring.splitDevice(state: SplitQueueState(availableIndex: 9, usedIndex: 0))
    }
    #expect(throws: QueueError(.badState, value: 8)) {
      _ = try ring.packedDevice(state: PackedQueueState(availableIndex: 8))
    }
    #expect(throws: QueueError(.badState, value: 0)) {
      _ = try ring.packedDevice(state: PackedQueueState(usedIndex: 1))
    }
  }
}
