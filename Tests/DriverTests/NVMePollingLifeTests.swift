// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceSimulation
import DriverCore
import LinuxHandles
import NVMeDriver
import PCIBus
import Synchronization
import TestSupport
import Testing

/// A controller with a thread of its own, which goes on while the other side resets it, pulls it out, or takes memory back.
@Suite struct NVMePollingLifeTests {
  private func stand() throws -> NVMeModelStand { try NVMeModelStand(NVMeModelStand.pollingOptions) }

  // MARK: Life

  private struct Stop: Error {}

  @Test func theThreadEndsWithTheFunction() throws {
    weak var model: NVMeModel?
    func use(_ end: (borrowing SimulatedFunction, NVMeModel) throws -> Void) throws {
      let stand = try stand()
      model = stand.model
      let function = try stand.function()
      try end(function, stand.model)
      let driver = try NVMeDriver(function)
      _ = try driver.controller.makeQueuePair(depth: 4)
    }
    // The thread holds the model.
    try use { _, _ in }
    #expect(model == nil)
    // Without a driver, removed, or in a second function.
    #expect(throws: NVMeError.self) { try use { function, _ in function.remove() } }
    #expect(model == nil)
    #expect(throws: Stop.self) {
      try use { function, _ in
        try function.reset()
        throw Stop()
      }
    }
    #expect(model == nil)
    do {
      let stand = try stand()
      model = stand.model
      for _ in 0..<3 { _ = try stand.driver().controller.namespaceIDs() }
    }
    #expect(model == nil)
  }

  /// Whichever kernel call fails on the way up, nothing stays.
  #if DEBUG
    @Test func aFailureOnTheWayUpLeavesNoThread() throws {
      weak var model: NVMeModel?
      let swept = try faultSweep(concerning: { _ in false }) { plan in
        FaultPlan.$current.withValue(plan) {
          do {
            let stand = try stand()
            model = stand.model
            _ = try stand.driver()
          } catch {
            #expect(error is KernelError || (error as? NVMeError)?.code == .kernel, "\(error)")
          }
        }
        #expect(model == nil)
      }
      #expect(swept > 12, "\(swept) calls")
    }
  #endif

  // MARK: Reset and removal

  /// What a thread that reads is told, and tells.
  private final class Reading: Sendable {
    let isOver = Atomic(false)
    let failures = Mutex<[String]>([])

    /// Reads what ``write(to:)`` wrote until it is told to end, and makes its queues again after a reset.
    func run(on controller: NVMeController, mayFail codes: Set<DriverError.Code>) {
      do {
        let namespace = try controller.namespace(1)
        var queue = try controller.makeQueuePair(depth: 16)
        let memory = try controller.expose(UnsharedMemory(byteCount: 1 << 16), access: .readWrite)
        while !isOver.load(ordering: .relaxed) {
          do throws(NVMeError) {
            try queue.recover()
            try queue.read(namespace, at: 7, count: 128, into: memory)
          } catch {
            guard codes.contains(error.code) else { throw error }
            if error.code == .removed { return }
            continue
          }
          let wrong = stride(from: 0, to: 1 << 16, by: 512).first {
            memory.load(UInt64.self, at: $0) != UInt64($0)
          }
          if let wrong { failures.withLock { $0.append("byte \(wrong)") } }
        }
      } catch {
        failures.withLock { $0.append("\(error)") }
      }
    }
  }

  /// Does something while a thread reads.
  private func whileReading(
    on controller: NVMeController, mayFail codes: Set<DriverError.Code>, _ body: () throws -> Void
  ) throws {
    var queue = try controller.makeQueuePair(depth: 16)
    let memory = try controller.expose(UnsharedMemory(byteCount: 1 << 16), access: .readWrite)
    for place in stride(from: 0, to: 1 << 16, by: 512) { memory.store(UInt64(place), at: place) }
    try queue.write(controller.namespace(1), at: 7, count: 128, from: memory)
    let reading = Reading()
    let thread = try OwnedThread { reading.run(on: controller, mayFail: codes) }
    let result = Result { try body() }
    reading.isOver.store(true, ordering: .relaxed)
    _ = consume thread
    try result.get()
    #expect(reading.failures.withLock { $0 } == [])
  }

  private func waitForReads(of model: NVMeModel) throws {
    let before = model.counts.reads
    try Deadline(.seconds(60)).poll("more reads") { model.counts.reads > before + 10 }
  }

  @Test func resetsWhileItReads() throws {
    let stand = try stand()
    do {
      let driver = try stand.driver()
      let controller = driver.controller
      try whileReading(on: controller, mayFail: [.wasReset]) {
        for _ in 0..<20 {
          try waitForReads(of: stand.model)
          try controller.reset()
        }
        try waitForReads(of: stand.model)
      }
    }
    #expect(stand.space.takeFaults().isEmpty && stand.space.mappedRanges.isEmpty)
  }

  @Test func removalWhileItReads() throws {
    let stand = try stand()
    do {
      let function = try stand.function()
      let slot = function.slot
      let driver = try NVMeDriver(function, NVMeOptions(queuePairCount: 3, patience: .seconds(60)))
      let controller = driver.controller
      var queue = try controller.makeQueuePair(depth: 16)
      let memory = try controller.expose(
        UnsharedMemory(byteCount: 4096), access: .readWrite, sharing: .coherent)
      try whileReading(on: controller, mayFail: [.removed]) {
        try waitForReads(of: stand.model)
        slot.remove()
      }
      // The doorbell is memory still, and nobody looks at it.
      let counts = stand.model.counts
      memory.store(UInt64.max, at: 0)
      queue.submit(NVMeCommand(.read, namespaceID: 1, block: 7, count: 8), moving: 4096, at: memory.iova)
      queue.ring()
      _ = try? Deadline(.milliseconds(20)).poll("nothing") { false }
      let word = memory.load(UInt64.self, at: 0)
      #expect(word == .max && stand.model.counts == counts)
    }
    #expect(stand.space.takeFaults().isEmpty && stand.space.mappedRanges.isEmpty)
  }

  // MARK: Memory that goes

  /// What a command names and nothing maps is a fault and a failed command; those beside it are done.
  @Test func unmappedMemoryIsAFault() throws {
    let stand = try stand()
    let driver = try stand.driver()
    var queue = try driver.controller.makeQueuePair(depth: 16)
    let memory = try stand.space.expose(
      UnsharedMemory(byteCount: 8192), access: .readWrite, at: IOVA(0x50_0000_0000))
    let readable = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .read)
    let (pastTheEnd, nowhere) = (IOVA(0x50_0000_2000), IOVA(0x60_0000_0000))
    // Not mapped; against the direction; past the end, in the second page: each behind one that is done, and before one.
    var failed: [UInt64] = []
    for (round, iova) in [nowhere, readable.iova, memory.iova(at: 6144)].enumerated() {
      for (index, iova) in [memory.iova, iova, memory.iova].enumerated() {
        queue.submit(
          NVMeCommand(.read, namespaceID: 1, block: 0, count: 8), moving: 4096, at: iova,
          tag: UInt64(10 * round + index))
      }
      try queue.drain(until: Deadline(.seconds(60))) { completion in
        if completion.status.reason == .dataTransferError { failed.append(completion.tag) }
      }
    }
    #expect(failed == [1, 11, 21] && stand.model.counts.reads == 9)
    #expect(
      stand.space.takeFaults() == [
        DMAFault(iova: nowhere, byteCount: 4096, access: .write, reason: .unmapped),
        DMAFault(iova: readable.iova, byteCount: 4096, access: .write, reason: .notAllowed),
        DMAFault(iova: pastTheEnd, byteCount: 2048, access: .write, reason: .unmapped),
      ])
  }

  /// Memory is taken back while the controller reads into it: it gets there before, or not at all.
  @Test func unmappingWhileItReads() throws {
    let stand = try stand()
    let driver = try stand.driver()
    let namespace = try driver.controller.namespace(1)
    var queue = try driver.controller.makeQueuePair(depth: 32)
    let source = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .read)
    for place in stride(from: 0, to: 4096, by: 8) { source.store(UInt64.max, at: place) }
    try queue.write(namespace, at: 0, count: 8, from: source)
    var (failureCount, doneCount) = (0, 0)
    for round in 0..<300 {
      let memory = try stand.space.expose(
        UnsharedMemory(byteCount: 4096), access: .readWrite, sharing: .coherent)
      for _ in 0..<32 {
        queue.submit(NVMeCommand(.read, namespaceID: 1, block: 0, count: 8), moving: 4096, at: memory.iova)
      }
      queue.ring()
      // Another moment each time.
      for _ in 0..<(round * 4) { _ = memory.load(UInt64.self, at: 0) }
      var pages = try memory.reclaim()
      var bytes = pages.bytes
      for place in stride(from: 0, to: 4096, by: 8) {
        bytes.storeBytes(of: UInt64(round), toByteOffset: place, as: UInt64.self)
      }
      try queue.drain(until: Deadline(.seconds(60))) { completion in
        if completion.status.isSuccess { doneCount += 1 } else { failureCount += 1 }
      }
      let seen = pages.bytes
      var wrong: Int?
      for place in stride(from: 0, to: 4096, by: 8) where wrong == nil {
        if unsafe seen.unsafeLoad(fromByteOffset: place, as: UInt64.self) != UInt64(round) { wrong = place }
      }
      #expect(wrong == nil, "what is ours again stays as it is")
    }
    #expect(doneCount + failureCount == 300 * 32)
    #expect(stand.space.takeFaults().count == failureCount)
  }
}
