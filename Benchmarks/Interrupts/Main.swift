// SPDX-License-Identifier: Apache-2.0
internal import CTwins
internal import CTwinsInterrupts
internal import DriverCore
internal import LinuxHandles
internal import Synchronization

/// One interrupt from its eventfd to its consumer, beside a bare epoll loop in C.
///
/// Prints one line for each measurement, in the order of the profiler's dumps; see Benchmarks/Interrupts/run.
@main
enum Main {
  static let operations: UInt32 = 20_000

  static func main() async throws {
    let source = StandSource(events: try PCIFunctionEvents())
    let vectors = try InterruptVectors(arming: .msix, 0..<3, of: source)
    let fd = source.descriptor(0)

    // Its thread is there from the beginning: libc does more for each call of a program with threads, which
    // every driver is.
    let reactor = try EventReactor()
    measure("sending alone, C") { twin_sending(fd, $0) }
    measure("blocking, C") { twin_blocking(fd, $0) }
    do {
      let vector = vectors.take(0)
      var waiter = try InterruptWaiter()
      try waiter.add(vector)
      try measure("InterruptWaiter.wait") { try blocking(waiter, fd, $0) }
      let deadline = Deadline(.seconds(3600))
      try measure("InterruptVector.wait(until:)") { try blocking(vector, deadline, fd, $0) }
    }
    measure("reacting, C") { twin_reacting(fd, $0) }

    let served = vectors.take(1)
    let next = source.descriptor(1)
    let chain = Chain(event: next, done: try EventFD())
    let calls = try served.serve(on: reactor) { chain.react($0) }
    measure("InterruptVector.serve(on:)") { chain.run($0) }
    calls.cancel()

    let streamed = vectors.take(2)
    let last = source.descriptor(2)
    var counts = try streamed.events(on: reactor).makeAsyncIterator()
    _ = await asynchronous(&counts, last, 64)
    twin_measurement_begins()
    let sum = await asynchronous(&counts, last, operations)
    twin_measurement_ends()
    report("InterruptVector.events(on:)", sum)
  }

  private static func measure(_ name: String, _ loop: (UInt32) throws -> UInt64) rethrows {
    // What happens once is not the loop's.
    _ = try loop(64)
    twin_measurement_begins()
    let sum = try loop(operations)
    twin_measurement_ends()
    report(name, sum)
  }

  private static func report(_ name: String, _ sum: UInt64) {
    precondition(sum == UInt64(operations), "\(name) counted \(sum)")
    print(name, operations, separator: "\t")
  }
}

@inline(never)
func blocking(_ waiter: borrowing InterruptWaiter, _ event: CInt, _ count: UInt32) throws(DriverError)
  -> UInt64
{
  var sum: UInt64 = 0
  var index: UInt32 = 0
  while index != count {
    twin_signal(event)
    try waiter.wait { _, taken in sum &+= taken }
    index &+= 1
  }
  return sum
}

@inline(never)
func blocking(
  _ vector: borrowing InterruptVector, _ deadline: Deadline, _ event: CInt, _ count: UInt32
) throws(DriverError) -> UInt64 {
  var sum: UInt64 = 0
  var index: UInt32 = 0
  while index != count {
    twin_signal(event)
    sum &+= try vector.wait(until: deadline)
    index &+= 1
  }
  return sum
}

@inline(never)
func asynchronous(_ counts: inout EventCounts.AsyncIterator, _ event: CInt, _ count: UInt32) async -> UInt64 {
  var sum: UInt64 = 0
  while sum < UInt64(count) {
    twin_signal(event)
    sum += await counts.next() ?? .max
  }
  return sum
}

/// A handler that sends the next interrupt until there were enough.
final class Chain: Sendable {
  private let event: CInt
  private let done: EventFD
  private let sum = Atomic<UInt64>(0)
  private let limit = Atomic<UInt64>(0)

  init(event: CInt, done: consuming EventFD) {
    self.event = event
    self.done = done
  }

  func react(_ count: UInt64) {
    let now = sum.add(count, ordering: .relaxed).newValue
    if now < limit.load(ordering: .relaxed) { twin_signal(event) } else { done.wake() }
  }

  func run(_ count: UInt32) -> UInt64 {
    sum.store(0, ordering: .relaxed)
    limit.store(UInt64(count), ordering: .relaxed)
    twin_signal(event)
    _ = try? done.wait(for: .seconds(3600))
    _ = try? done.take()
    return sum.load(ordering: .relaxed)
  }
}

/// A function without a device: the benchmark signals its vectors itself.
final class StandSource: InterruptSource {
  let events: PCIFunctionEvents
  private let armed = Mutex<[CInt?]>([])

  init(events: PCIFunctionEvents) { self.events = events }

  func descriptor(_ vector: Int) -> CInt { armed.withLock { $0[vector] ?? -1 } }

  func facts(of kind: InterruptKind) -> InterruptFacts? {
    InterruptFacts(vectorCount: 16, isExtensible: true, isMaskable: false)
  }
  func arm(_ kind: InterruptKind, from start: Int, signalling events: [CInt?], adding isAdding: Bool) {
    armed.withLock { $0 = events }
  }
  func disarm(_ kind: InterruptKind) {}
  func trigger(_ kind: InterruptKind, _ vectors: Range<Int>) {}
  func trigger(_ kind: InterruptKind, from start: Int, where chosen: [Bool]) {}
  func setMasked(_ isMasked: Bool, _ kind: InterruptKind, vector: Int) {}
  func unmask(_ kind: InterruptKind, vector: Int, whenSignalled event: CInt?) {}
}
