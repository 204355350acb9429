// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DeviceSimulation
import DriverCore
import LinuxHandles
import NVMeChecks
import NVMeDriver
import PCIBus
import SoftwareIOTLB
import Testing

/// The driver on a controller that looks at its doorbells by itself: two threads that share nothing but memory.
@Suite struct NVMePollingTests {
  /// Longer than a thread waits for a processor, also where all are busy.
  private static let short = NVMeOptions(patience: .seconds(2))

  @Test(arguments: NVMeCheck.allCases)
  func onAPollingModel(_ check: NVMeCheck) async throws {
    let stand = try NVMeModelStand(NVMeModelStand.pollingOptions)
    try await check.run(on: stand.driver(check.options))
    #expect(stand.space.takeFaults().isEmpty, "the controller reaches what it was given")
    #expect(stand.space.mappedRanges.isEmpty)
  }

  /// The thread takes turns with the clock's, which ends the commands.
  @Test(arguments: [
    NVMeCheck.readsInBatches, .readsOnSeveralThreads, .readsWhatWasWritten, .writesByInterrupts,
  ])
  func onAPollingModelThatIsSlow(_ check: NVMeCheck) async throws {
    let stand = try NVMeModelStand.slow(NVMeModelStand.pollingOptions)
    try await check.run(on: stand.driver(check.options))
    #expect(stand.space.takeFaults().isEmpty)
  }

  /// A view of memory that lends no addresses: every transfer is a call of its own.
  @Test(arguments: [false, true])
  func behindASoftwareIOTLB(_ isPolling: Bool) async throws {
    let domain = try IOTLBDomain()
    let view = try IOTLBView(of: domain)
    let model = try NVMeModel(isPolling ? NVMeModelStand.pollingOptions : NVMeModelStand.usualOptions)
    let driver = try NVMeDriver(SimulatedFunction(model, in: domain, seeing: view))
    try await NVMeCheck.readsWhatWasWritten.run(on: driver)
    #expect(view.takeFault() == nil && model.counts.writes > 0)
  }

  // MARK: Doorbells

  @Test func doorbellsAreMemoryAndTheRestIsCalled() throws {
    func mappedParts(_ options: NVMeModelOptions) throws -> [Range<Int>] {
      let function = try NVMeModelStand(options).function()
      return try [PCIBAR.Index.bar0, .bar2].map { bar in
        let window = try function.mapBAR(bar)
        return window.mappedByteOffset..<(window.mappedByteOffset + window.mappedByteCount)
      }
    }
    #expect(try mappedParts(NVMeModelStand.pollingOptions) == [0x1000..<0x2000, 0..<0])
    #expect(try mappedParts(NVMeModelStand.usualOptions) == [0..<0, 0..<0])
    let window = try NVMeModelStand(NVMeModelStand.pollingOptions).function().mapBAR(.bar0)
    let version = window.load(UInt32.self, at: 0x08)
    #expect(version == 0x0001_0400)
  }

  /// A value that no queue has, and a doorbell that no queue has: an event, and the queue goes on.
  ///
  /// A host that has not mapped the doorbells calls the model.
  @Test(arguments: [8, 12, 0xff0], [true, false])
  func aDoorbellWithNonsenseIsTold(_ byteOffset: Int, isMapped: Bool) throws {
    let stand = try NVMeModelStand(NVMeModelStand.pollingOptions)
    let function = try stand.function()
    let window = try function.mapBAR(.bar0)
    let driver = try NVMeDriver(function, NVMeOptions(queuePairCount: 2))
    let namespace = try driver.controller.namespace(1)
    var queue = try driver.controller.makeQueuePair(depth: 4)
    let none = try driver.controller.takeEvents()
    #expect(none.isEmpty)
    if isMapped {
      window.store(UInt32(0xffff), at: 0x1000 + byteOffset)
    } else {
      stand.model.writeRegister(0xffff, .bar0, at: 0x1000 + byteOffset, byteWidth: 4)
    }
    var events: [NVMeEvent] = []
    let deadline = Deadline(.seconds(60))
    while events.isEmpty && !deadline.isOver { events = try driver.controller.takeEvents() }
    #expect(events.count == 1 && events.first?.kind == .error && events.first?.logPage == .errors)
    #expect(events.first?.information == (byteOffset == 0xff0 ? 0 : 1))
    let memory = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    for _ in 0..<10 { try queue.read(namespace, at: 0, count: 1, into: memory) }
  }

  /// Queues come and go under the same number, with doorbells as an earlier one left them.
  @Test func aNewQueueBeginsWithNewDoorbells() throws {
    let stand = try NVMeModelStand(NVMeModelStand.pollingOptions)
    let driver = try stand.driver()
    let memory = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    for _ in 0..<20 {
      var queue = try driver.controller.makeQueuePair(depth: 4)
      // As many each time, by one doorbell: it says what the last queue's said.
      for _ in 0..<3 {
        queue.submit(NVMeCommand(.read, namespaceID: 1, block: 0, count: 1), moving: 512, at: memory.iova)
      }
      try queue.drain(until: Deadline(.seconds(10)))
    }
    #expect(stand.model.counts.reads == 60)
  }

  /// Whatever the admin queue's doorbell said before a reset, it says 0 afterwards.
  @Test func aResetPutsDoorbellsBack() throws {
    let stand = try NVMeModelStand(NVMeModelStand.pollingOptions)
    let driver = try stand.driver()
    // Through all places of the queue, which has 32.
    for count in 0..<33 {
      for _ in 0..<count { _ = try driver.controller.namespaceIDs() }
      try driver.controller.reset()
    }
  }

  // MARK: Misbehaviour

  @Test(arguments: [
    (NVMeMisbehaviour.diesAtCommand, DriverError.Code.deviceFault, 1), (.unknownID, .deviceFault, 1),
    (.repeatedID, .deviceFault, 1), (.phaseJump, .timedOut, 1), (.forgetsCommands, .timedOut, 1),
    (.holdsCommands, .timedOut, 0),
  ])
  func misbehavioursAreSeenAndMended(
    _ misbehaviour: NVMeMisbehaviour, _ code: DriverError.Code, _ resets: Int
  ) throws {
    // A completion that comes twice may come the second time when the first read is over.
    let (failure, seen) = try NVMeModelStand(NVMeModelStand.pollingOptions)
      .errorAndRecovery(misbehaviour, Self.short, count: 1000)
    #expect(failure?.code == code && failure?.command == .read, "\(String(describing: failure))")
    #expect(seen == UInt64(resets))
  }

  @Test func commandsThatFailAmongOthers() throws {
    let stand = try NVMeModelStand(NVMeModelStand.pollingOptions)
    let driver = try stand.driver()
    var queue = try driver.controller.makeQueuePair(depth: 32)
    let memory = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    // Beyond the end, of a namespace that is not active, of one that is not there, an opcode that is not there.
    let bad: [UInt64: (command: NVMeCommand, reason: NVMeStatus)] = [
      5: (NVMeCommand(.read, namespaceID: 1, block: 32768, count: 1), .rangeBeyondNamespace),
      9: (NVMeCommand(.read, namespaceID: 3, block: 0, count: 1), .invalidField),
      10: (NVMeCommand(.write, namespaceID: 77, block: 0, count: 1), .invalidNamespace),
      20: (NVMeCommand(NVMeOpcode(rawValue: 0x7f, isAdmin: false), namespaceID: 1), .invalidOpcode),
    ]
    for tag: UInt64 in 0..<32 {
      let good = NVMeCommand(tag % 2 == 0 ? .read : .write, namespaceID: 1, block: tag, count: 1)
      queue.submit(bad[tag]?.command ?? good, moving: 512, at: memory.iova, tag: tag)
    }
    var failures: [UInt64: NVMeStatus] = [:]
    var count = 0
    try queue.drain(until: Deadline(.seconds(60))) { completion in
      count += 1
      if !completion.status.isSuccess { failures[completion.tag] = completion.status.reason }
    }
    #expect(count == 32 && failures == bad.mapValues(\.reason))
    #expect(stand.model.counts.reads == 14 && stand.model.counts.writes == 14)
  }
}
