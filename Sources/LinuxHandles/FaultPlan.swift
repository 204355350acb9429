// SPDX-License-Identifier: Apache-2.0
#if DEBUG
  import CLinuxABI
  import Glibc
  import Synchronization
  public import SystemPackage

  /// Fails, or dies at, the n-th kernel call of a task; debug builds only.
  ///
  /// A sweep over n = 1, 2, … until `wasReached` is false visits the failure of every call that an
  /// operation makes. `deinit`s release without ``kernelCall(_:on:_:)``, so they are never made to fail.
  public final class FaultPlan: Sendable {
    /// The plan of the current task, if any.
    @TaskLocal public static var current: FaultPlan?
    /// The plan of each ``OwnedThread`` that is started now, for all that it does; threads do not inherit ``current``.
    @TaskLocal public static var ofNewThreads: FaultPlan?

    /// What happens at the chosen call.
    public enum Outcome: Sendable {
      /// The call answers this error.
      case fails(Errno)
      /// The process is killed as by `kill -9`, before the call is made.
      case kills
    }

    private let target: Int
    private let operation: String?
    private let outcome: Outcome
    private let count = Atomic<Int>(0)
    private let counts = Mutex<[String: Int]>([:])

    /// Plans one outcome at the `target`-th call, counted from 1.
    ///
    /// Zero only counts.
    /// - Parameter operation: Counts calls of this name alone: what several threads do has no order among all calls.
    public init(
      atCall target: Int, of operation: String? = nil, _ outcome: Outcome = .fails(.ioError)
    ) {
      self.target = target
      self.operation = operation
      self.outcome = outcome
    }

    /// The number of calls seen so far.
    public var callCount: Int { count.load(ordering: .relaxed) }

    /// The names of the calls seen so far, and how many there were of each.
    public var callCounts: [String: Int] { counts.withLock { $0 } }

    /// Whether the chosen call was made.
    public var wasReached: Bool { callCount >= target }

    func failureOfNextCall(_ operation: StaticString) -> Errno? {
      let name = operation.description
      guard self.operation == nil || self.operation == name else { return nil }
      counts.withLock { $0[name, default: 0] += 1 }
      guard count.add(1, ordering: .relaxed).newValue == target else { return nil }
      switch outcome {
      case .fails(let errno): return errno
      case .kills:
        kill(getpid(), SIGKILL)
        return nil
      }
    }
  }
#endif
