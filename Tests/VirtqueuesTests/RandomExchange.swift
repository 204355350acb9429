// SPDX-License-Identifier: Apache-2.0
import DMACore
import TestSupport
import Testing
import Virtqueues

/// Both sides do what they may do, in any order, and a model knows what must come of it: which chain comes next, what it
/// consists of, and who has to be woken.
struct RandomExchange: QueueScenario {
  let kind: QueueKind
  let seed: UInt64
  let steps: Int
  private var random: SeededNumbers

  private var nextToken: UInt64 = 0
  private var pieces: [UInt64: [QueueSegment]] = [:]
  /// Added, and not published.
  private var added: [UInt64] = []
  /// Published, and not taken.
  private var waiting: [UInt64] = []
  /// In the order in which they were taken; with how many bytes once they are complete.
  private var taken: [(token: UInt64, chain: QueueChain, written: UInt32?)] = []
  /// Completed where the driver must find them, not published.
  private var ended: [UsedChain.Expected] = []
  /// Published as used, not taken back.
  private var returned: [UsedChain.Expected] = []
  private var deviceSleeps = false
  private var driverSleeps = false
  private var deviceIsDisarmed = false
  private var driverIsDisarmed = false

  init(kind: QueueKind, seed: UInt64, steps: Int) {
    self.kind = kind
    self.seed = seed
    self.steps = steps
    random = SeededNumbers(seed)
  }

  mutating func run<Driver: DriverSide & ~Copyable, Device: DeviceSide & ~Copyable>(
    _ driver: inout Driver, _ device: inout Device, _ memory: RingMemory
  ) throws {
    for step in 0..<steps {
      let context = "\(kind), seed \(seed), step \(step)"
      switch random.next() % 12 {
      case 0, 1, 2: add(&driver)
      case 3: try publish(&driver, context)
      case 4, 5: try take(&device, memory, context)
      case 6, 7: complete(&device)
      case 8: try publish(&device, context)
      case 9, 10: try takeUsed(&driver, context)
      default: try arm(&driver, &device, context)
      }
      try #require(device.inFlightCount == taken.count { $0.written == nil }, "\(context)")
    }
    try drain(&driver, &device, memory)
  }

  private mutating func add<Driver: DriverSide & ~Copyable>(_ driver: inout Driver) {
    let longest = UInt64(min(kind.size, 7))
    let count = Int(random.next() % longest) + 1
    let readable = Int(random.next() % UInt64(count + 1))
    let segments = (0..<count).map { index in
      QueueSegment(
        iova: IOVA(random.next() >> 20), byteCount: UInt32(random.next() % 5000) + 1,
        isWritable: index >= readable)
    }
    let free = driver.freeCount
    let usesTable = kind.features.contains(.indirectDescriptors) && count > 1 && count <= kind.tableLength
    let fits = (usesTable ? 1 : count) <= free
    let isIn = driver.add(segments, token: nextToken)
    #expect(isIn == fits)
    if isIn {
      pieces[nextToken] = segments
      added.append(nextToken)
      nextToken += 1
    }
  }

  private mutating func publish<Driver: DriverSide & ~Copyable>(_ driver: inout Driver, _ context: String)
    throws
  {
    let kicks = driver.publish()
    if added.isEmpty { try #require(!kicks, "\(context)") }
    if deviceSleeps, !added.isEmpty {
      try #require(kicks, "lost kick: \(context)")
      deviceSleeps = false
    }
    if deviceIsDisarmed { try #require(!kicks, "kick though disarmed: \(context)") }
    waiting += added
    added = []
  }

  private mutating func take<Device: DeviceSide & ~Copyable>(
    _ device: inout Device, _ memory: RingMemory, _ context: String
  ) throws {
    let chain = try device.take(through: memory)
    guard let token = waiting.first else {
      try #require(chain == nil, "\(context)")
      return
    }
    let found = try #require(chain, "\(context)")
    try #require(device.segments(of: found) == pieces[token], "\(context)")
    try check(found, pieces[token] ?? [])
    try #require(device.isInFlight(found.id) == true, "\(context)")
    if random.next() % 8 == 0 {
      device.undoTake(found)
      try #require(device.isInFlight(found.id) == false, "\(context)")
      return
    }
    waiting.removeFirst()
    taken.append((token, found, nil))
  }

  private func check(_ chain: QueueChain, _ segments: [QueueSegment]) throws {
    let readable = segments.filter { !$0.isWritable }
    try #require(Int(chain.readableSegmentCount) == readable.count)
    try #require(chain.readableByteCount == readable.reduce(0) { $0 + $1.byteCount })
    try #require(
      chain.writableByteCount == segments.filter(\.isWritable).reduce(0) { $0 + $1.byteCount })
  }

  private mutating func complete<Device: DeviceSide & ~Copyable>(_ device: inout Device) {
    let open = taken.indices.filter { taken[$0].written == nil }
    guard let place = open.randomElement(using: &random) else { return }
    let written = UInt32(random.next() % (UInt64(taken[place].chain.writableByteCount) + 1))
    device.complete(taken[place].chain, writtenByteCount: written)
    taken[place].written = written
    if kind.features.contains(.inOrder) {
      while let first = taken.first, let written = first.written {
        ended.append(.init(token: first.token, writtenByteCount: written))
        taken.removeFirst()
      }
    } else {
      ended.append(.init(token: taken[place].token, writtenByteCount: written))
      taken.remove(at: place)
    }
  }

  private mutating func publish<Device: DeviceSide & ~Copyable>(_ device: inout Device, _ context: String)
    throws
  {
    let interrupts = device.publish()
    if ended.isEmpty { try #require(!interrupts, "\(context)") }
    if driverSleeps, !ended.isEmpty {
      try #require(interrupts, "lost interrupt: \(context)")
      driverSleeps = false
    }
    if driverIsDisarmed { try #require(!interrupts, "interrupt though disarmed: \(context)") }
    returned += ended
    ended = []
  }

  private mutating func takeUsed<Driver: DriverSide & ~Copyable>(_ driver: inout Driver, _ context: String)
    throws
  {
    let used = try driver.takeUsed()
    try #require(used.map { .init($0) } == returned.first, "\(context)")
    if used != nil { pieces[returned.removeFirst().token] = nil }
  }

  private mutating func arm<Driver: DriverSide & ~Copyable, Device: DeviceSide & ~Copyable>(
    _ driver: inout Driver, _ device: inout Device, _ context: String
  ) throws {
    // A split ring with the event index has no way to say "never".
    let disarms = kind.isPacked || !kind.features.contains(.eventIndex)
    switch random.next() % 4 {
    case 0:
      deviceSleeps = device.armKicks()
      deviceIsDisarmed = false
      try #require(deviceSleeps == waiting.isEmpty, "\(context)")
    case 1:
      driverSleeps = driver.armInterrupts()
      driverIsDisarmed = false
      try #require(driverSleeps == returned.isEmpty, "\(context)")
    case 2:
      device.disarmKicks()
      (deviceSleeps, deviceIsDisarmed) = (false, disarms)
    default:
      driver.disarmInterrupts()
      (driverSleeps, driverIsDisarmed) = (false, disarms)
    }
  }

  private mutating func drain<Driver: DriverSide & ~Copyable, Device: DeviceSide & ~Copyable>(
    _ driver: inout Driver, _ device: inout Device, _ memory: RingMemory
  ) throws {
    let context = "\(kind), seed \(seed), end"
    try publish(&driver, context)
    while !waiting.isEmpty { try take(&device, memory, context) }
    while taken.contains(where: { $0.written == nil }) { complete(&device) }
    try publish(&device, context)
    while !returned.isEmpty { try takeUsed(&driver, context) }
    try #require(pieces.isEmpty && driver.inFlightCount == 0 && driver.freeCount == kind.size, "\(context)")
    try #require(driver.brokenBy == nil && device.brokenBy == nil, "\(context)")
  }
}

extension UsedChain {
  /// As ``UsedChain``, which only a queue makes.
  struct Expected: Equatable {
    let token: UInt64
    let writtenByteCount: UInt32

    init(token: UInt64, writtenByteCount: UInt32) {
      self.token = token
      self.writtenByteCount = writtenByteCount
    }

    init(_ chain: UsedChain) {
      self.init(token: chain.token, writtenByteCount: chain.writtenByteCount)
    }
  }
}
