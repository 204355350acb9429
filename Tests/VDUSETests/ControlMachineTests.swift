// SPDX-License-Identifier: Apache-2.0
import DMACore
import TestSupport
import Testing
import VDUSE

/// What follows from control messages, also in an order in which no kernel sends them.
@Suite struct ControlMachineTests {
  static let everything = IOVARange(start: IOVA(0), last: IOVA(.max))
  static let features = VirtioFeature.version1 | VirtioFeature.accessPlatform | VirtioFeature.eventIndex
  static let bound: VirtioStatus = [.acknowledge, .driver]
  static let chosen: VirtioStatus = [.acknowledge, .driver, .featuresOK]
  static let ready: VirtioStatus = [.acknowledge, .driver, .featuresOK, .driverOK]

  static func machine(tellsReadiness: Bool = false) -> ControlMachine {
    let description = VDUSEDeviceDescription(
      name: "d", deviceID: .block, features: features, queueCount: 2, groupCount: 2, addressSpaceCount: 3)
    return ControlMachine(description, tellsReadiness: tellsReadiness)
  }

  @Test func aDriverStartsAndResets() {
    var machine = Self.machine()
    #expect(machine.handle(.status(Self.bound)) { nil } == .init())
    #expect(machine.handle(.status(Self.chosen)) { Self.features } == .init())
    // The answer comes first: the driver's thread waits for it, and interrupts are refused before.
    #expect(
      machine.handle(.status(Self.ready)) { nil }
        == .init(ordersAfterwards: [.start(queue: 0), .start(queue: 1)]))
    #expect(machine.handle(.status(Self.ready)) { nil } == .init(), "said twice")
    #expect(
      machine.handle(.status([])) { nil } == .init(orders: [.stop(queue: 0), .stop(queue: 1), .forgetAll]))
    #expect(machine.handle(.status([])) { nil } == .init(orders: [.forgetAll]), "said twice")
    #expect(machine.status.isEmpty)
  }

  @Test func featuresThatWereNotOfferedAreRefused() {
    for features in [Self.features | 1 << 11, VirtioFeature.version1, 0] {
      var machine = Self.machine()
      #expect(machine.handle(.status(Self.chosen)) { features } == .init(isDone: false))
      #expect(machine.status.isEmpty)
    }
    var machine = Self.machine()
    #expect(!machine.handle(.status(Self.chosen)) { nil }.isDone, "the kernel does not tell them")
  }

  @Test func readinessMayComeBeforeAndAfterTheDriver() {
    var machine = Self.machine(tellsReadiness: true)
    #expect(machine.handle(.queueReady(1, true)) { nil } == .init())
    _ = machine.handle(.status(Self.chosen)) { Self.features }
    #expect(machine.handle(.status(Self.ready)) { nil } == .init(ordersAfterwards: [.start(queue: 1)]))
    #expect(machine.isKnownReady(1) && !machine.isKnownReady(0))
    #expect(machine.handle(.queueReady(0, true)) { nil } == .init(ordersAfterwards: [.start(queue: 0)]))
    #expect(machine.handle(.queueReady(0, true)) { nil } == .init(), "said twice")
    #expect(machine.handle(.queueReady(0, false)) { nil } == .init(orders: [.stop(queue: 0)]))
    #expect(machine.handle(.queueReady(0, false)) { nil } == .init(), "said twice")
    _ = machine.handle(.status([])) { nil }
    #expect(!machine.isKnownReady(1), "a reset makes queues not ready")
  }

  @Test func suspendedQueuesStayStopped() {
    var machine = Self.machine(tellsReadiness: true)
    _ = machine.handle(.queueReady(0, true)) { nil }
    _ = machine.handle(.status(Self.chosen)) { Self.features }
    _ = machine.handle(.status(Self.ready)) { nil }
    #expect(machine.handle(.suspend) { nil } == .init(orders: [.stop(queue: 0)]))
    #expect(machine.handle(.queueState(0)) { nil } == .init(reportedQueue: 0))
    #expect(machine.handle(.queueReady(1, true)) { nil } == .init(), "nothing starts")
    _ = machine.handle(.status([])) { nil }
    _ = machine.handle(.queueReady(0, true)) { nil }
    _ = machine.handle(.status(Self.chosen)) { Self.features }
    #expect(
      machine.handle(.status(Self.ready)) { nil }.ordersAfterwards == [.start(queue: 0)], "a reset ends it")
  }

  @Test func suspensionBeforeAnyDriverIsDone() {
    var machine = Self.machine()
    #expect(machine.handle(.suspend) { nil } == .init())
    #expect(machine.handle(.status(Self.ready)) { Self.features }.ordersAfterwards.isEmpty)
  }

  @Test func groupsMoveBeforeTheDriverIsReady() {
    var machine = Self.machine()
    #expect(machine.handle(.groupAddressSpace(group: 0, addressSpace: 2)) { nil } == .init())
    #expect(machine.addressSpace(ofQueue: 0) == 2)
    _ = machine.handle(.status(Self.ready)) { Self.features }
    #expect(!machine.handle(.groupAddressSpace(group: 0, addressSpace: 1)) { nil }.isDone, "in use")
    #expect(machine.handle(.groupAddressSpace(group: 1, addressSpace: 1)) { nil }.isDone, "no queue is in it")
    _ = machine.handle(.status([])) { nil }
    #expect(machine.addressSpace(ofQueue: 0) == 0, "a reset brings them back")
  }

  @Test func anUpdateIsForItsAddressSpace() {
    var machine = Self.machine()
    let orders: [ControlMachine.Order] = [.forget(Self.everything, addressSpace: 1)]
    #expect(machine.handle(.iotlb(Self.everything, addressSpace: 1)) { nil } == .init(orders: orders))
  }

  static let senseless: [VDUSERequest.Subject] = [
    .queueState(2), .queueState(-1), .queueReady(2, true), .queueReady(9, false), .unknown(type: 99),
    .iotlb(everything, addressSpace: 3), .groupAddressSpace(group: 2, addressSpace: 0),
    .groupAddressSpace(group: 0, addressSpace: 3),
  ]

  @Test(arguments: senseless)
  func whatMakesNoSenseIsRefused(_ request: VDUSERequest.Subject) {
    var machine = Self.machine()
    #expect(machine.handle(request) { nil } == .init(isDone: false))
  }

  @Test func aDriverThatGaveUpIsLetGo() {
    var machine = Self.machine()
    _ = machine.handle(.status(Self.ready)) { Self.features }
    let step = machine.handle(.status(Self.ready.union(.failed))) { nil }
    #expect(step.orders == [.stop(queue: 0), .stop(queue: 1), .forgetAll])
  }

  @Test func aServerAfterAnotherStartsWhatIsReady() {
    var machine = Self.machine(tellsReadiness: true)
    #expect(machine.recover(Self.ready, readyQueues: [1]) == [.start(queue: 1)])
    #expect(machine.handle(.status(Self.ready)) { nil } == .init(), "already there")
    #expect(machine.handle(.status([])) { nil }.orders == [.stop(queue: 1), .forgetAll])
    var early = Self.machine()
    #expect(early.recover(Self.chosen, readyQueues: [0, 1]).isEmpty, "the driver was not ready")
    #expect(early.handle(.status(Self.ready)) { nil }.ordersAfterwards.count == 2)
  }

  // MARK: Any order

  private static func anyRequest(_ numbers: inout SeededNumbers) -> VDUSERequest.Subject {
    func small(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &numbers) }
    switch small(8) {
    case 0: return .queueState(small(4) - 1)
    case 1, 2: return .queueReady(small(3), Bool.random(using: &numbers))
    case 3: return .groupAddressSpace(group: small(3), addressSpace: small(4))
    case 4: return .iotlb(everything, addressSpace: small(4))
    case 5: return small(4) == 0 ? .suspend : .unknown(type: numbers.next() & 1 == 0 ? 6 : .max)
    default: return .status([bound, chosen, ready, ready.union(.failed), []][small(5)])
    }
  }

  /// A start before the answer, or something else after it.
  private struct Misplaced: Error {}

  /// Whatever comes after whatever: only what stands still is started, in order and with nothing in its way, only what runs
  /// is stopped, and a message that is refused changes nothing.
  @Test(arguments: SeededNumbers.seeds("CONTROL_SEED"), [false, true])
  func anyOrderOfMessagesKeepsTheAccount(_ seed: UInt64, _ tellsReadiness: Bool) throws {
    var numbers = SeededNumbers(seed)
    var machine = Self.machine(tellsReadiness: tellsReadiness)
    var (running, isSuspended): (Set<Int>, Bool) = ([], false)
    for step in 0..<4_000 {
      let request = Self.anyRequest(&numbers)
      let answer = machine.handle(request) { Self.features }
      let comment: Comment = "seed \(seed), step \(step): \(request)"
      switch request {
      case .suspend: isSuspended = true
      case .status([]): isSuspended = false
      default: break
      }
      if !answer.isDone { try #require(answer == .init(isDone: false), comment) }
      for order in answer.orders {
        if case .stop(let queue) = order { try #require(running.remove(queue) != nil, comment) }
        if case .start = order { throw Misplaced() }
      }
      for order in answer.ordersAfterwards {
        guard case .start(let queue) = order else { throw Misplaced() }
        try #require(running.insert(queue).inserted && (0..<2).contains(queue), comment)
        try #require(machine.status.contains(.driverOK) && !isSuspended, comment)
        if tellsReadiness { try #require(machine.isKnownReady(queue), comment) }
      }
      if machine.status.isEmpty || machine.status.contains(.failed) || isSuspended {
        try #require(running.isEmpty, comment)
      }
      for queue in 0..<2 { try #require((0..<3).contains(machine.addressSpace(ofQueue: queue)), comment) }
    }
  }
}
