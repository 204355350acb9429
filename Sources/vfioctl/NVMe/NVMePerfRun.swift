// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DriverCore
internal import Glibc
internal import LinuxHandles
internal import NVMeDriver
internal import Synchronization

/// What each thread of a measurement does.
struct NVMePerfWork: Sendable {
  let namespace: NVMeNamespace
  let opcode: NVMeOpcode
  let byteCount: Int
  let depth: Int
  let isRandom: Bool
}

/// A measurement with a thread for each queue pair.
final class NVMePerfRun: Sendable {
  struct Result {
    let latencies: LatencyHistogram
    let seconds: Double
  }

  private let controller: NVMeController
  private let work: NVMePerfWork
  private let queueCount: Int
  private let isOver = Atomic<Bool>(false)
  private let doneCount = Atomic<Int>(0)
  private let outcome = Mutex<(latencies: LatencyHistogram, failure: (any Error)?)>((LatencyHistogram(), nil))

  init(_ controller: NVMeController, _ work: NVMePerfWork, queueCount: Int) {
    self.controller = controller
    self.work = work
    self.queueCount = queueCount
  }

  /// Runs, and tells how it goes once a second.
  func run(for duration: Duration, _ tell: (String) -> Void) throws -> Result {
    let start = ContinuousClock.now
    try withThreads(queueCount) {
      var last = 0
      while start.duration(to: .now) < duration, outcome.withLock({ $0.failure == nil }) {
        usleep(UInt32(min(1_000_000, max(1, (duration - start.duration(to: .now)) / .microseconds(1)))))
        let count = doneCount.load(ordering: .relaxed)
        let megabytes = (count - last) * work.byteCount / 1_000_000
        tell("\(count - last) IOPS, \(megabytes) MB/s")
        last = count
      }
      isOver.store(true, ordering: .relaxed)
    }
    tell("")
    let elapsed = start.duration(to: .now) / .nanoseconds(1) / 1e9
    return try outcome.withLock { outcome in
      if let failure = outcome.failure { throw failure }
      return Result(latencies: outcome.latencies, seconds: elapsed)
    }
  }

  /// Threads end when their owner goes: one is held by each step.
  private func withThreads(_ count: Int, _ body: () -> Void) throws {
    guard count > 0 else { return body() }
    let thread = try OwnedThread { [self] in work(count) }
    try withThreads(count - 1, body)
    _ = consume thread
  }

  private func work(_ seed: Int) {
    var latencies = LatencyHistogram()
    var failure: (any Error)?
    do {
      try work(seed, &latencies)
    } catch {
      failure = error
    }
    let (seen, end) = (latencies, failure)
    outcome.withLock { outcome in
      outcome.latencies.add(seen)
      outcome.failure = outcome.failure ?? end
    }
  }

  private func work(_ seed: Int, _ latencies: inout LatencyHistogram) throws {
    var queue = try controller.makeQueuePair(depth: work.depth)
    let memory = try controller.expose(
      UnsharedMemory(byteCount: work.depth * work.byteCount), access: .readWrite, sharing: .coherent)
    let count = UInt32(work.byteCount >> work.namespace.blockShift)
    let places = work.namespace.blockCount / UInt64(count)
    var random = UInt64(seed) &* 0x9e37_79b9_7f4a_7c15 | 1
    var next = UInt64(seed) &* (places / UInt64(queueCount + 1))
    var begun = [UInt64](repeating: 0, count: work.depth)
    // A slot of memory for each command that is on its way; those that are free.
    var free = (0..<work.depth).map { $0 }
    var status: NVMeStatus?
    while true {
      let isEnding = isOver.load(ordering: .relaxed) || status != nil
      if isEnding && free.count == work.depth { break }
      if !isEnding && !free.isEmpty {
        let now = nanoseconds()
        while let slot = free.popLast() {
          random ^= random << 13
          random ^= random >> 7
          random ^= random << 17
          let place = work.isRandom ? random % places : next % places
          next &+= 1
          begun[slot] = now
          queue.submit(
            NVMeCommand(
              work.opcode, namespaceID: work.namespace.id, block: place * UInt64(count), count: count),
            moving: work.byteCount, at: memory.iova(at: slot * work.byteCount), tag: UInt64(slot))
        }
        queue.ring()
      }
      let seen = try queue.wait(until: Deadline(.seconds(20))) { completion in
        latencies.add(nanoseconds() &- begun[Int(completion.tag)])
        free.append(Int(completion.tag))
        if !completion.status.isSuccess { status = completion.status }
      }
      doneCount.add(seen, ordering: .relaxed)
    }
    if let status { throw NVMeError(work.opcode, endedWith: status) }
  }

  private func nanoseconds() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }
}
