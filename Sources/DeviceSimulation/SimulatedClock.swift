// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import LinuxHandles
internal import Synchronization

/// The time of one simulated device, and the thread that its work runs on.
///
/// Work runs in the order of its time; of equal times, in the order in which it was scheduled. The thread
/// ends with the function that uses the clock, or with the clock.
public final class SimulatedClock: Sendable {
  /// How fast a device is.
  public enum Pace: Hashable, Sendable {
    /// Delays are as long as the model says, times a factor: 0 is at once, 1 is as slow as the real device.
    case scaled(by: Double)
    /// Time stands still but for ``SimulatedClock/advance(by:)``, which runs the work on its caller's thread.
    case manual
    /// Nothing waits, but work still runs on the device's thread.
    public static var immediate: Pace { .scaled(by: 0) }
  }

  private struct Work {
    let due: Duration
    let order: UInt64
    let body: @Sendable () -> Void
  }
  private struct Queue {
    var works: [Work] = []
    var nextOrder: UInt64 = 0
    var manualNow = Duration.zero
    var isStopped = false

    mutating func takeFirst(dueBy now: Duration) -> Work? {
      guard let first = works.first, first.due <= now else { return nil }
      return works.removeFirst()
    }
  }
  /// What the thread needs, apart from the clock: the thread must not keep its owner alive.
  private final class State: Sendable {
    let news: EventFD
    let start = ContinuousClock.now
    let queue = Mutex(Queue())
    init() throws(KernelError) { news = try EventFD() }
    var elapsed: Duration { start.duration(to: .now) }
  }

  /// How fast the device is.
  public let pace: Pace
  private let state: State
  private let thread: Mutex<OwnedThread?>

  /// Starts the clock's thread; a manual clock needs none.
  /// - Throws: `KernelError` for `eventfd` or `pthread_create`.
  public init(_ pace: Pace = .immediate) throws(KernelError) {
    self.pace = pace
    let state = try State()
    self.state = state
    thread = Mutex(pace == .manual ? nil : try OwnedThread { Self.run(state) })
  }

  deinit { stop() }

  /// Moves a manual clock on, and runs what became due, here and now.
  public func advance(by step: Duration) {
    precondition(pace == .manual, "only a manual clock is moved by hand")
    let end = state.queue.withLock { $0.manualNow + step }
    while true {
      let work = state.queue.withLock { queue -> Work? in
        let work = queue.takeFirst(dueBy: end)
        queue.manualNow = max(queue.manualNow, work?.due ?? end)
        return work
      }
      guard let work else { return }
      work.body()
    }
  }

  /// How many pieces of work wait for their time.
  public var pendingCount: Int { state.queue.withLock { $0.works.count } }

  func schedule(after delay: Duration, _ body: @escaping @Sendable () -> Void) {
    let elapsed = state.elapsed
    state.queue.withLock { queue in
      guard !queue.isStopped else { return }
      let due: Duration =
        switch pace {
        case .manual: queue.manualNow + delay
        case .scaled(let factor): elapsed + delay * factor
        }
      let work = Work(due: due, order: queue.nextOrder, body: body)
      queue.nextOrder += 1
      let place = queue.works.firstIndex { $0.due > due } ?? queue.works.endIndex
      queue.works.insert(work, at: place)
    }
    state.news.wake()
  }

  /// Drops all work that has not begun.
  func cancelAll() {
    // The bodies go after the lock: a body may hold the last reference to a model.
    let dropped = state.queue.withLock { queue in
      defer { queue.works = [] }
      return queue.works
    }
    _ = dropped
  }

  /// Drops all work, waits for what has begun, and ends the thread; nothing is scheduled any more.
  func stop() {
    state.queue.withLock { $0.isStopped = true }
    cancelAll()
    state.news.wake()
    // Waits outside of the lock.
    let ended = thread.withLock { $0.take() }
    _ = consume ended
  }

  private static func run(_ state: State) {
    while true {
      let now = state.elapsed
      let (work, next, isStopped) = state.queue.withLock { queue in
        (queue.takeFirst(dueBy: now), queue.works.first?.due, queue.isStopped)
      }
      if let work {
        work.body()
      } else if isStopped {
        return
      } else {
        // A failure of either call only makes the loop look again.
        _ = try? state.news.wait(for: next.map { $0 - now } ?? .seconds(3600))
        _ = try? state.news.take()
      }
    }
  }
}
