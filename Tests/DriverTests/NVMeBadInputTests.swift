// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceSimulation
import DriverCore
import LinuxHandles
import NVMeDriver
import PCIBus
import TestSupport
import Testing

/// Controllers that misbehave: each is an error with a name, and no memory is used again that one may still reach.
@Suite struct NVMeBadInputTests {
  private static let short = NVMeOptions(patience: .milliseconds(100))

  private func errorAndRecovery(_ misbehaviour: NVMeMisbehaviour) throws -> (NVMeError?, UInt64) {
    try NVMeModelStand().errorAndRecovery(misbehaviour, Self.short)
  }

  @Test func aControllerThatNeverBecomesReady() throws {
    let stand = try NVMeModelStand(NVMeModelStand.usualOptions, .neverReady)
    let error = #expect(throws: NVMeError.self) { _ = try stand.driver() }
    #expect(error?.code == .timedOut && error.map { "\($0)".contains("become ready") } == true)
    #expect(stand.space.mappedRanges.isEmpty)
  }

  @Test func aControllerThatDies() throws {
    let (error, resets) = try errorAndRecovery(.diesAtCommand)
    #expect(error?.code == .deviceFault && error?.command == .read, "\(String(describing: error))")
    #expect(resets == 1)
  }

  @Test func aControllerThatCompletesUnknownIDs() throws {
    let (error, resets) = try errorAndRecovery(.unknownID)
    #expect(error?.code == .deviceFault && error?.command == .read)
    #expect(resets == 1)
  }

  @Test func aControllerThatCompletesIDsTwice() throws {
    let (error, resets) = try errorAndRecovery(.repeatedID)
    #expect(error?.code == .deviceFault && error?.command == .read)
    #expect(resets == 1)
  }

  @Test func aPhaseThatJumps() throws {
    let (error, resets) = try errorAndRecovery(.phaseJump)
    #expect(error?.code == .timedOut && error?.command == .read)
    #expect(resets == 1)
  }

  @Test func commandsThatNeverEnd() throws {
    let (error, resets) = try errorAndRecovery(.forgetsCommands)
    #expect(error?.code == .timedOut && error?.command == .read)
    #expect(resets == 1)
  }

  @Test func commandsThatEndWhenAborted() throws {
    let (error, resets) = try errorAndRecovery(.holdsCommands)
    #expect(error?.code == .timedOut && error?.command == .read)
    #expect(resets == 0, "the abort was enough")
  }

  @Test func lostInterruptsOnlyCostTime() throws {
    let stand = try NVMeModelStand()
    let driver = try stand.driver()
    let namespace = try driver.controller.namespace(1)
    var queue = try driver.controller.makeQueuePair(depth: 4, waiting: .interrupts)
    let memory = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    stand.model.misbehaviour = .lostInterrupt
    try queue.read(namespace, at: 0, count: 1, into: memory)
  }

  @Test func aControllerThatDoesNotAnswerWhenQueuesAreMade() throws {
    let stand = try NVMeModelStand()
    let driver = try stand.driver(Self.short)
    stand.model.misbehaviour = .deafAdmin
    let error = #expect(throws: NVMeError.self) { _ = try driver.controller.makeQueuePair() }
    #expect(error?.code == .timedOut && error?.command == .createCompletionQueue)
    // It was reset, and comes back.
    stand.model.misbehaviour = .none
    try driver.controller.reset()
    _ = try driver.controller.makeQueuePair()
  }

  /// What is read is not what was written: only a comparison tells.
  @Test func blocksThatAreReadWrong() throws {
    let stand = try NVMeModelStand()
    let driver = try stand.driver(Self.short)
    let namespace = try driver.controller.namespace(1)
    var queue = try driver.controller.makeQueuePair(depth: 4)
    let memory = try stand.space.expose(UnsharedMemory(byteCount: 8192), access: .readWrite)
    for place in stride(from: 0, to: 8192, by: 8) { memory.store(UInt64(place), at: place) }
    try queue.write(namespace, at: 0, count: 16, from: memory)
    stand.model.misbehaviour = .corruptedRead
    try queue.read(namespace, at: 0, count: 16, into: memory)
    let wrong = stride(from: 0, to: 8192, by: 8).filter {
      memory.load(UInt64.self, at: $0) != UInt64($0)
    }
    #expect(wrong == [0, 4096], "one bit of each page")
    // The controller compares what it has, not what it sends.
    let isEqual = try queue.compare(namespace, at: 0, count: 16, with: memory)
    #expect(!isEqual)
    stand.model.misbehaviour = .none
    try queue.read(namespace, at: 0, count: 16, into: memory)
    let isEqualAgain = try queue.compare(namespace, at: 0, count: 16, with: memory)
    #expect(isEqualAgain)
  }

  // MARK: Memory that may still be reached

  @Test(arguments: [NVMeMisbehaviour.neverStops, .allOnes])
  func memoryIsLeftBehindWhereTheControllerMayUseIt(_ misbehaviour: NVMeMisbehaviour) throws {
    let stand = try NVMeModelStand()
    do {
      let function = try stand.function()
      let driver = try NVMeDriver(function, Self.short)
      let namespace = try driver.controller.namespace(1)
      var queue = try driver.controller.makeQueuePair(depth: 4)
      let memory = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      if misbehaviour == .neverStops {
        // A command that does not end, and a controller that does not stop: two faults.
        stand.model.misbehaviour = .forgetsCommands
        queue.submit(
          NVMeCommand(.read, namespaceID: 1, block: 0, count: 1), moving: 512, at: memory.iova)
        queue.ring()
      }
      stand.model.misbehaviour = misbehaviour
      if misbehaviour == .neverStops {
        let error = #expect(throws: NVMeError.self) { try driver.controller.reset() }
        #expect(error?.code == .notStopped)
      } else {
        var failure: NVMeError?
        do throws(NVMeError) {
          try queue.read(namespace, at: 0, count: 1, into: memory)
        } catch {
          failure = error
        }
        #expect(failure?.code == .notStopped, "\(String(describing: failure))")
      }
    }
    #expect(!stand.space.mappedRanges.isEmpty, "rings and lists are nobody's")
  }

  @Test func aResetOfTheFunctionStopsWhatNothingElseDoes() throws {
    let stand = try NVMeModelStand()
    do {
      let driver = try stand.driver(Self.short)
      let namespace = try driver.controller.namespace(1)
      var queue = try driver.controller.makeQueuePair(depth: 4)
      stand.model.misbehaviour = .neverStops
      #expect(throws: NVMeError.self) { try driver.controller.reset() }
      stand.model.misbehaviour = .none
      #expect(throws: NVMeError.self) { try driver.controller.reset() }
      try driver.resetFunction()
      _ = try queue.recover()
      let memory = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      try queue.read(namespace, at: 0, count: 1, into: memory)
    }
    #expect(stand.space.mappedRanges.isEmpty)
  }

  /// A queue pair that goes with commands on their way deletes its queues first.
  @Test func aQueueThatGoesTakesItsCommandsAlong() throws {
    var options = NVMeModelStand.usualOptions
    options.latency = .milliseconds(1)
    let stand = try NVMeModelStand(options)
    let clock = try SimulatedClock(.manual)
    let driver = try NVMeDriver(SimulatedFunction(stand.model, addressSpace: stand.space, clock: clock))
    do {
      var queue = try driver.controller.makeQueuePair(depth: 4)
      let memory = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      for _ in 0..<3 {
        queue.submit(NVMeCommand(.read, namespaceID: 1, block: 0, count: 1), moving: 512, at: memory.iova)
      }
      queue.ring()
    }
    clock.advance(by: .seconds(1))
    #expect(stand.space.takeFaults().isEmpty, "no transfer came after the memory was gone")
  }

  // MARK: Removal

  @Test func anAbsentControllerIsRemoved() throws {
    let stand = try NVMeModelStand()
    stand.model.misbehaviour = .allOnes
    let error = #expect(throws: NVMeError.self) { _ = try stand.driver() }
    #expect(error?.code == .removed)
    let function = try stand.function()
    function.remove()
    do throws(NVMeError) {
      _ = try NVMeDriver(function)
      Issue.record("a driver for a device that is gone")
    } catch {
      #expect(error.code == .removed)
    }
  }

  @Test(arguments: [NVMeWaiting.polling, .interrupts])
  func removalWhileWaitingEndsTheWait(_ waiting: NVMeWaiting) throws {
    let stand = try NVMeModelStand()
    do {
      let function = try stand.function()
      let slot = function.slot
      let driver = try NVMeDriver(function, NVMeOptions(patience: .seconds(60)))
      let namespace = try driver.controller.namespace(1)
      var queue = try driver.controller.makeQueuePair(depth: 4, waiting: waiting)
      let memory = try stand.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      stand.model.misbehaviour = .forgetsCommands
      let pull = try OwnedThread {
        _ = try? Deadline(.milliseconds(30)).poll("nothing") { false }
        slot.remove()
      }
      var failure: NVMeError?
      do throws(NVMeError) {
        try queue.read(namespace, at: 0, count: 1, into: memory)
      } catch {
        failure = error
      }
      _ = consume pull
      #expect(failure?.code == .removed, "\(String(describing: failure))")
    }
    #expect(stand.space.mappedRanges.isEmpty, "what is not there reaches nothing")
  }

  #if DEBUG
    /// Whichever kernel call fails while the driver comes up, nothing stays mapped, and the controller is stopped.
    @Test func aFailureOnTheWayUpLeavesNothing() throws {
      let swept = try faultSweep(concerning: { _ in false }) { plan in
        let stand = try NVMeModelStand()
        FaultPlan.$current.withValue(plan) {
          do {
            _ = try stand.driver()
          } catch {
            let code = (error as? NVMeError)?.code ?? .kernel
            #expect(code == .kernel, "\(error)")
          }
        }
        let left = stand.space.exposures
        #expect(left.allSatisfy { $0.isParked } && left.count <= 1)
        #expect(stand.space.takeFaults().isEmpty)
      }
      #expect(swept > 8, "\(swept) calls")
    }
  #endif
}
