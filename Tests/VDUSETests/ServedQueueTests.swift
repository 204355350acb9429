// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import SystemPackage
import Testing
import VDUSE
import Virtqueues

/// A queue as a service sees it, and what a server after a killed one makes of it.
@Suite struct ServedQueueTests {
  private static func newPath() -> String {
    FileManager.default.temporaryDirectory.appending(path: "queue-\(UUID().uuidString)").path()
  }
  private static let eventIndex = VirtioFeature.eventIndex | VirtioFeature.indirectDescriptors

  @Test(arguments: [false, true], [0, eventIndex])
  func chainsAreServedAndShownTogether(_ isPacked: Bool, _ features: UInt64) throws {
    let guest = try GuestQueue(isPacked: isPacked, features: features)
    var queue = try guest.serve()
    #expect(try queue.take() == nil)
    for token in 0..<3 { #expect(guest.offer(token, writable: 100, pieceByteCount: 50)) }
    for token in 0..<3 {
      let chain = try #require(try queue.take())
      #expect(chain.writableByteCount == 100 && queue.segment(0).isWritable)
      let isStored = ChainBytes(chain).store([UInt8(token), 7].span, at: 49, of: queue)
      #expect(isStored)
      queue.complete(chain, writtenByteCount: 51)
    }
    #expect(try guest.takeUsed() == nil, "not before it is published")
    queue.publish()
    let used = try guest.takeAllUsed()
    #expect(used.map(\.token) == [0, 1, 2] && used.allSatisfy { $0.bytes.count == 51 })
    #expect(used.map { $0.bytes[49] } == [0, 1, 2] && used.allSatisfy { $0.bytes[50] == 7 }, "across a cut")
  }

  @Test(arguments: [false, true], [0, eventIndex])
  func whatIsGivenBackIsTakenAgain(_ isPacked: Bool, _ features: UInt64) throws {
    let guest = try GuestQueue(isPacked: isPacked, features: features)
    var queue = try guest.serve()
    /// Needs three chains at once.
    struct Collector: VirtioService {
      func serve(_ queue: inout ServedQueue) throws(QueueError) -> ServiceNeed {
        var chains: [QueueChain] = []
        while chains.count < 3, let chain = try queue.take() { chains.append(chain) }
        if chains.count == 3 {
          for chain in chains { queue.complete(chain, writtenByteCount: 0) }
        } else {
          for chain in chains.reversed() { queue.undoTake(chain) }
        }
        return .chains
      }
    }
    for token in 0..<2 { #expect(guest.offer(token, writable: 10)) }
    #expect(try queue.serve(by: Collector()) == .chains)
    #expect(try queue.armKicks(), "it sleeps, though there are chains")
    #expect(guest.offer(2, writable: 10))
    #expect(guest.offer(3, writable: 10))
    #expect(try !queue.armKicks(), "there are more than it saw")
    #expect(try queue.serve(by: Collector()) == .chains)
    #expect(try guest.takeAllUsed().map(\.token) == [0, 1, 2])
    #expect(guest.interruptCount == 1, "one for all")
    #expect(try !queue.armKicks())
  }

  @Test(arguments: [false, true])
  func aDriverDoesNotWaitForAllOfWhatIsSlow(_ isPacked: Bool) throws {
    /// Takes longer for a chain than an interrupt may be owed.
    struct Slow: VirtioService {
      func serve(_ queue: inout ServedQueue) throws(QueueError) -> ServiceNeed {
        while let chain = try queue.take() {
          usleep(1000)
          queue.complete(chain, writtenByteCount: 0)
          queue.publish()
        }
        return .chains
      }
    }
    let guest = try GuestQueue(isPacked: isPacked)
    var queue = try guest.serve()
    for token in 0..<4 { #expect(guest.offer(token, writable: 10)) }
    #expect(try queue.serve(by: Slow()) == .chains)
    #expect(guest.interruptCount == 2, "one for two")
  }

  @Test func withANewOrderNoChainIsTaken() throws {
    let guest = try GuestQueue(isPacked: false)
    var queue = try guest.serve()
    #expect(guest.offer(0, writable: 10))
    guest.orders.give()
    #expect(try queue.take() == nil)
    var next = try guest.serve()
    #expect(try next.take() != nil)
  }

  @Test func aRingThatIsBrokenIsNotServed() throws {
    let guest = try GuestQueue(isPacked: false)
    var queue = try guest.serve()
    #expect(guest.offer(0, writable: 10, at: .max - 3))
    #expect(throws: QueueError.self) { try queue.take() }
    #expect(throws: QueueError.self) { try queue.take() }
  }

  // MARK: Restart

  /// Dies after some steps; each chain has one to three pieces, and they are shown in groups.
  private struct Server {
    var stepsLeft: Int
    var done: [Int] = []
    var isDead: Bool { stepsLeft == 0 }
    /// Whether it dies between showing the driver something and noting that.
    var forgetsLast = false

    mutating func run(_ guest: GuestQueue, _ log: InFlightLog, _ path: String, isRecovering: Bool) throws {
      if isDead { return }
      var queue = try guest.serve(log, isRecovering: isRecovering)
      var group = 0
      while !isDead, let chain = try queue.take() {
        done.append(Int(chain.writableByteCount))
        queue.complete(chain, writtenByteCount: chain.writableByteCount - 1)
        group += 1
        stepsLeft -= 1
        if isDead { return }
        if group % 3 != 0 { continue }
        try publish(&queue, path)
      }
      if !isDead { try publish(&queue, path) }
    }

    private mutating func publish(_ queue: inout ServedQueue, _ path: String) throws {
      // How far a packed ring is: the first word of the only queue.
      let file = try OwnedDescriptor.open(path, for: .readWrite)
      var word = [UInt8](repeating: 0, count: 8)
      try #require(unsafe pread(file.rawValue, &word, 8, 64) == 8)
      queue.publish()
      stepsLeft -= 1
      if isDead, forgetsLast { try #require(unsafe pwrite(file.rawValue, word, 8, 64) == 8) }
    }
  }

  @Test(arguments: [false, true], [false, true])
  func whereverAServerDiesEachChainIsDoneOnce(_ isPacked: Bool, _ forgetsLast: Bool) throws {
    let path = Self.newPath()
    defer { unsafe unlink(path) }
    for features in [0, Self.eventIndex] {
      for steps in 1...24 {
        let guest = try GuestQueue(isPacked: isPacked, features: features)
        var server = Server(stepsLeft: steps)
        server.forgetsLast = forgetsLast
        var (returned, offered): ([Int], Int) = ([], 0)
        var log = try InFlightLog(path: path, queueCount: 1, queueSize: 8, isFresh: true)
        var isRecovering = false
        // More than twice around the ring.
        while returned.count < 20 {
          while offered < 20,
            guest.offer(offered % 16, writable: 20 + offered, pieceByteCount: 10 + offered % 3 * 10)
          {
            offered += 1
          }
          try server.run(guest, log, path, isRecovering: isRecovering)
          if server.isDead {
            log = try InFlightLog(path: path, queueCount: 1, queueSize: 8, isFresh: false)
            (server.stepsLeft, isRecovering) = (.max, true)
            continue
          }
          isRecovering = true
          returned += try guest.takeAllUsed().map { $0.bytes.count }
        }
        #expect(server.done == (20..<40).map { $0 }, "after \(steps) steps, features \(features)")
        #expect(returned == (19..<39).map { $0 }, "after \(steps) steps, features \(features)")
      }
    }
  }

  @Test func aPackedRingWithoutItsLogIsNotTakenOver() throws {
    let path = Self.newPath()
    defer { unsafe unlink(path) }
    let guest = try GuestQueue(isPacked: true)
    let lost = try InFlightLog(path: path, queueCount: 1, queueSize: 8, isFresh: false)
    #expect(!lost.isComplete)
    #expect(throws: (any Error).self) { _ = try guest.serve(lost, isRecovering: true) }
    #expect(throws: (any Error).self) { _ = try guest.serve(nil, isRecovering: true) }
    // One that tells everything, and of nothing for this queue: it begins.
    let complete = try InFlightLog(path: path, queueCount: 1, queueSize: 8, isFresh: false)
    #expect(complete.isComplete)
    _ = try guest.serve(complete, isRecovering: true)
  }

  @Test func aLogThatMakesNoSenseIsNoTrap() throws {
    let path = Self.newPath()
    defer { unsafe unlink(path) }
    let guest = try GuestQueue(isPacked: true)
    let log = try InFlightLog(path: path, queueCount: 1, queueSize: 8, isFresh: true)
    _ = try guest.serve(log)
    #expect(guest.offer(0, writable: 10))
    for entry in [
      InFlightLog.Entry(place: 0, id: 900, slotCount: 1, writtenByteCount: 0),
      InFlightLog.Entry(place: 0, id: 0, slotCount: 0, writtenByteCount: 0),
      InFlightLog.Entry(place: 0, id: 0, slotCount: 9, writtenByteCount: 0),
      InFlightLog.Entry(place: 0, id: 0, slotCount: .max, writtenByteCount: .max),
    ] {
      log.note(entry, ofQueue: 0)
      #expect(throws: (any Error).self) { _ = try guest.serve(log, isRecovering: true) }
    }
  }
}
