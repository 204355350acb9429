// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import Virtqueues

/// What both driver types can do, so that a test is written once.
protocol DriverSide: ~Copyable, Sendable {
  mutating func add(_ segments: Span<QueueSegment>, token: UInt64) -> Bool
  mutating func publish() -> Bool
  mutating func takeUsed() throws(QueueError) -> UsedChain?
  mutating func disarmInterrupts()
  mutating func armInterrupts() -> Bool
  var freeCount: Int { get }
  var inFlightCount: Int { get }
  var brokenBy: QueueError? { get }
}

/// What both device types can do.
protocol DeviceSide: ~Copyable, Sendable {
  mutating func take<Translator: IOVATranslator & ~Copyable>(
    through translator: borrowing Translator
  ) throws(QueueError) -> QueueChain?
  func segment(_ index: Int) -> QueueSegment
  mutating func undoTake(_ chain: QueueChain)
  mutating func complete(_ chain: QueueChain, writtenByteCount: UInt32)
  mutating func publish() -> Bool
  mutating func disarmKicks()
  mutating func armKicks() -> Bool
  var inFlightCount: Int { get }
  func isInFlight(_ id: UInt16) -> Bool
  var brokenBy: QueueError? { get }
}

extension SplitQueueDriver: DriverSide {}
extension PackedQueueDriver: DriverSide {}
extension SplitQueueDevice: DeviceSide {}
extension PackedQueueDevice: DeviceSide {}

extension DriverSide where Self: ~Copyable {
  mutating func add(_ segments: [QueueSegment], token: UInt64) -> Bool { add(segments.span, token: token) }
}

extension DeviceSide where Self: ~Copyable {
  func segments(of chain: QueueChain) -> [QueueSegment] { (0..<Int(chain.segmentCount)).map { segment($0) } }
}

/// What is done with the two sides of one queue.
protocol QueueScenario {
  mutating func run<Driver: DriverSide & ~Copyable, Device: DeviceSide & ~Copyable>(
    _ driver: inout Driver, _ device: inout Device, _ memory: RingMemory
  ) throws
}

/// One of the kinds of queues that two sides may agree on.
struct QueueKind: Sendable, CustomStringConvertible {
  var isPacked: Bool
  var features: QueueFeatures
  var size = 8
  /// The length of the driver's indirect tables.
  var tableLength = 6

  var description: String {
    (isPacked ? "packed" : "split") + " \(size)"
      + (features.contains(.indirectDescriptors) ? ", indirect" : "")
      + (features.contains(.eventIndex) ? ", event index" : "")
      + (features.contains(.inOrder) ? ", in order" : "")
  }

  /// Every combination.
  static let all: [QueueKind] = [false, true].flatMap { isPacked in
    (0..<8).map { (bits: UInt64) in
      QueueKind(
        isPacked: isPacked, features: QueueFeatures(rawValue: (bits & 3) << 28 | (bits >> 2) << 35))
    }
  }

  /// Every combination in every one of some sizes; those that are no power of two are for packed rings only.
  static func all(sizes: [Int]) -> [QueueKind] {
    sizes.flatMap { size in
      all.filter { $0.isPacked || SplitRingLayout.isValid(size: size) }.map { kind in
        var kind = kind
        kind.size = size
        return kind
      }
    }
  }

  /// Makes both sides over the same memory, and lets go of them afterwards.
  func run(_ scenario: inout some QueueScenario) throws {
    let space = RingSpace()
    if isPacked {
      let layout = PackedRingLayout(size: size, indirectTableLength: tableLength)
      let memory = try space.expose(
        UnsharedMemory(byteCount: (layout.byteCount + 4095) & ~4095), access: .readWrite, sharing: .coherent)
      let view = space.deviceView(of: memory)
      var driver = PackedQueueDriver(memory: memory, layout: layout, features: features)
      var device = try PackedQueueDevice(
        size: size, descriptors: view.area(at: driver.descriptors, 16 * size),
        driverEvent: view.area(at: driver.driverEvent, 4), deviceEvent: view.area(at: driver.deviceEvent, 4),
        features: features)
      try scenario.run(&driver, &device, view)
      _ = driver.close()
    } else {
      let layout = SplitRingLayout(size: size, indirectTableLength: tableLength)
      let memory = try space.expose(
        UnsharedMemory(byteCount: (layout.byteCount + 4095) & ~4095), access: .readWrite, sharing: .coherent)
      let view = space.deviceView(of: memory)
      var driver = SplitQueueDriver(memory: memory, layout: layout, features: features)
      var device = try SplitQueueDevice(
        size: size, descriptors: view.area(at: driver.descriptors, 16 * size),
        available: view.area(at: driver.available, 6 + 2 * size),
        used: view.area(at: driver.used, 6 + 8 * size), features: features)
      try scenario.run(&driver, &device, view)
      _ = driver.close()
    }
  }
}
