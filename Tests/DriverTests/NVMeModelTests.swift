// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceSimulation
import DriverCore
import Foundation
import LinuxHandles
import NVMeDriver
import Testing

/// What only the model can be asked: which registers were written, what a file holds, errors to order.
@Suite struct NVMeModelTests {
  private func stand(
    _ stand: NVMeModelStand, _ options: NVMeOptions = NVMeOptions(),
    place: NVMeController.QueuePlace = .hostMemory, waiting: NVMeWaiting = .polling, rounds: Int
  ) throws {
    let driver = try stand.driver(options)
    let namespace = try driver.controller.namespace(1)
    var queue = try driver.controller.makeQueuePair(depth: 4, place: place, waiting: waiting)
    let memory = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    for _ in 0..<rounds { try queue.read(namespace, at: 0, count: 1, into: memory) }
  }

  @Test func doorbellsInMemorySaveRegisterWrites() throws {
    let (plain, shadow) = (try NVMeModelStand(), try NVMeModelStand())
    // Polled queues save doorbells by themselves.
    try stand(plain, waiting: .interrupts, rounds: 200)
    try stand(shadow, NVMeOptions(usesDoorbellBuffer: true), waiting: .interrupts, rounds: 200)
    #expect(shadow.model.counts.reads == 200)
    #expect(shadow.model.counts.doorbells < plain.model.counts.doorbells - 150)
  }

  /// The rings of 4 have 8 entries: a polled queue gives 4 back at once, one with interrupts each.
  @Test(arguments: [NVMeWaiting.polling, .interrupts])
  func aPolledQueueGivesEntriesBackTogether(_ waiting: NVMeWaiting) throws {
    let stand = try NVMeModelStand()
    let driver = try stand.driver()
    let namespace = try driver.controller.namespace(1)
    var queue = try driver.controller.makeQueuePair(depth: 4, waiting: waiting)
    let memory = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    let before = stand.model.counts.doorbells
    for _ in 0..<200 { try queue.read(namespace, at: 0, count: 1, into: memory) }
    #expect(stand.model.counts.doorbells - before == (waiting == .polling ? 250 : 400))
  }

  /// With as many commands on their way as the ring holds, entries that were not given back are lacking.
  @Test func aFullQueueGoesOn() throws {
    let stand = try NVMeModelStand()
    let driver = try stand.driver()
    var queue = try driver.controller.makeQueuePair(depth: 7)
    let memory = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    let command = NVMeCommand(.read, namespaceID: 1, block: 0, count: 1)
    var done = 0
    for _ in 0..<100 {
      while queue.submit(command, moving: 512, at: memory.iova) {}
      try queue.drain(until: Deadline(.seconds(60))) { completion in
        if completion.status.isSuccess { done += 1 }
      }
    }
    #expect(queue.depth == 7 && done == 700)
  }

  /// One that knows no descriptors gets lists of pages.
  @Test func longDataAreNamedAsTheControllerKnowsIt() throws {
    var options = NVMeModelStand.usualOptions
    options.hasScatterGatherLists = false
    let stand = try NVMeModelStand(options)
    let driver = try stand.driver()
    let namespace = try driver.controller.namespace(1)
    var queue = try driver.controller.makeQueuePair(depth: 4)
    let memory = try stand.space.expose(UnsharedMemory(byteCount: 64 << 10), access: .readWrite)
    try queue.read(namespace, at: 0, count: 128, into: memory)
    #expect(stand.model.counts.reads == 1)
  }

  @Test func commandsAreFetchedFromTheMemoryBuffer() throws {
    let model = try NVMeModelStand()
    try stand(model, place: .controllerMemory, rounds: 20)
    #expect(model.model.counts.fetchesFromBuffer == 20 && model.model.counts.reads == 20)
  }

  @Test func statusesAreNamedWithTheirCommand() throws {
    let stand = try NVMeModelStand()
    let driver = try stand.driver()
    let namespace = try driver.controller.namespace(1)
    var queue = try driver.controller.makeQueuePair(depth: 4)
    let memory = try stand.space.expose(UnsharedMemory(byteCount: 1 << 20), access: .readWrite)
    stand.model.fail(opcode: 0x02, with: 0x4281)
    var failure: NVMeError?
    do throws(NVMeError) {
      // One of several commands of one call.
      try queue.read(namespace, at: 0, count: 2048, into: memory)
    } catch {
      failure = error
    }
    #expect(failure?.code == .commandFailed && failure?.command == .read)
    #expect(failure?.status?.reason == .unrecoveredReadError && failure?.status?.isFinal == true)
    #expect(failure?.status?.type == .media && failure?.status?.code == 0x81)
    #expect(
      failure.map { "\($0)" }
        == "command failed: Read: unrecovered read error (type 2, code 0x81), do not retry")
    try queue.read(namespace, at: 0, count: 2048, into: memory)
    let errors = try driver.controller.errorLog()
    #expect(errors.first?.status.reason == .unrecoveredReadError && errors.first?.namespaceID == 1)
  }

  @Test func namespacesThatAreNotActive() throws {
    let stand = try NVMeModelStand()
    let driver = try stand.driver()
    #expect(try driver.controller.namespaceIDs() == [1, 2])
    let error = #expect(throws: NVMeError.self) { _ = try driver.controller.namespace(3) }
    #expect(error?.code == .noNamespace)
    // One that goes while it is used.
    let namespace = try driver.controller.namespace(2)
    #expect(namespace.blockByteCount == 4096)
    stand.model.setActive(false, namespace: 2)
    var queue = try driver.controller.makeQueuePair(depth: 4)
    let memory = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    var failure: NVMeError?
    do throws(NVMeError) {
      try queue.read(namespace, at: 0, count: 1, into: memory)
    } catch {
      failure = error
    }
    #expect(failure?.status?.reason == .invalidField && failure?.command == .read)
  }

  @Test func eventsAreTold() throws {
    let stand = try NVMeModelStand()
    let driver = try stand.driver()
    let before = try driver.controller.takeEvents()
    #expect(before.isEmpty)
    stand.model.tell(0x0002_0101)
    // Of a kind that was told, no more comes until the log page was read.
    stand.model.tell(0x0002_0101)
    let events = try driver.controller.takeEvents()
    #expect(events.count == 1)
    #expect(events.first?.kind == .health && events.first?.logPage == .health)
    #expect(events.first?.information == 1)
    _ = try driver.controller.health()
    stand.model.tell(0x0002_0101)
    // An admin command in between does not lose it.
    _ = try driver.controller.namespaceIDs()
    let more = try driver.controller.takeEvents()
    #expect(more.count == 1)
  }

  /// What happens before anybody asks is told to the first who does, once for each kind.
  @Test func eventsWaitForARequest() throws {
    let stand = try NVMeModelStand()
    let driver = try stand.driver()
    stand.model.tell(0x0002_0101)
    stand.model.tell(0x0001_0000)
    stand.model.tell(0x0002_0201)
    var events = try driver.controller.takeEvents()
    events += try driver.controller.takeEvents()
    #expect(events.map(\.kind) == [.health, .error] && events.first?.information == 1)
    let more = try driver.controller.takeEvents()
    #expect(more.isEmpty)
    stand.model.tell(0x0002_0101)
    try driver.controller.reset()
    let none = try driver.controller.takeEvents()
    #expect(none.isEmpty, "a reset forgets them")
  }

  @Test func formattingChangesTheBlocks() throws {
    let stand = try NVMeModelStand()
    let driver = try stand.driver()
    let namespace = try driver.controller.namespace(1)
    let refused = #expect(throws: NVMeError.self) {
      _ = try driver.controller.format(namespace, blockByteCount: 520)
    }
    #expect(refused?.code == .unsupported && refused?.command == .formatNVM)
    let formatted = try driver.controller.format(namespace, blockByteCount: 4096)
    #expect(formatted.blockByteCount == 4096 && formatted.byteCount == namespace.byteCount)
  }

  @Test func aFileHasWhatWasWritten() throws {
    let path = NSTemporaryDirectory() + "nvme-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
    defer { _ = try? FileManager.default.removeItem(atPath: path) }
    #expect(FileManager.default.createFile(atPath: path, contents: Data(count: 1 << 20)))
    var options = NVMeModelOptions()
    options.namespaces = [.init(blockCount: 2048, path: path)]
    let stand = try NVMeModelStand(options)
    let driver = try stand.driver()
    var queue = try driver.controller.makeQueuePair(depth: 4)
    let memory = try stand.space.expose(UnsharedMemory(byteCount: 8192), access: .readWrite)
    for place in 0..<8192 { memory.store(UInt8(truncatingIfNeeded: place &* 7 &+ place >> 8), at: place) }
    try queue.write(driver.controller.namespace(1), at: 100, count: 16, from: memory)
    let bytes = try Data(contentsOf: URL(fileURLWithPath: path))[51200..<59392]
    #expect(Array(bytes) == (0..<8192).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) })
    #expect(stand.model.bytes(ofNamespace: 1, at: 51200, byteCount: 8192) == Array(bytes))
  }

  @Test func anOrderlyShutdownIsSeen() throws {
    let stand = try NVMeModelStand()
    let driver = try stand.driver()
    _ = try driver.relinquish()
    #expect(stand.model.counts.shutdowns == 1)
  }

  @Test func asyncCallsSurviveAReset() async throws {
    let stand = try NVMeModelStand()
    let driver = try stand.driver(NVMeOptions(patience: .milliseconds(100)))
    let namespace = try driver.controller.namespace(1)
    let queue = try NVMeAsyncQueue(on: driver.controller, depth: 4)
    let memory = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    for (misbehaviour, code) in [
      (NVMeMisbehaviour.forgetsCommands, DriverError.Code.timedOut), (.unknownID, .deviceFault),
    ] {
      stand.model.misbehaviour = misbehaviour
      do throws(NVMeError) {
        try await queue.read(namespace, at: 0, count: 1, into: memory)
        Issue.record("a command that does not end")
      } catch {
        #expect(error.code == code, "\(error)")
      }
      stand.model.misbehaviour = .none
      try await queue.read(namespace, at: 0, count: 1, into: memory)
    }
  }
}
