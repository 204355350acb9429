// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc
internal import Synchronization

/// What a command that serves waits for: SIGINT or SIGTERM, kept from ending the process, so that it can end in order; or the end
/// of a server by itself.
final class ServingEnd: Sendable {
  private let hasFailed = Atomic<Bool>(false)

  /// Keeps the signals from this thread and all that it starts from now on.
  init() {
    var signals = Self.set
    unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
  }

  /// Ends the wait, on any thread: a server ended by itself.
  func fail() {
    hasFailed.store(true, ordering: .releasing)
    kill(getpid(), SIGTERM)
  }

  /// Waits for the end.
  /// - Throws: `ExitCode.failure` where a server ended by itself, which has said why.
  func wait() throws {
    var signals = Self.set
    var signal: CInt = 0
    unsafe sigwait(&signals, &signal)
    if hasFailed.load(ordering: .acquiring) { throw ExitCode.failure }
  }

  private static var set: sigset_t {
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    unsafe sigaddset(&signals, SIGINT)
    unsafe sigaddset(&signals, SIGTERM)
    return signals
  }
}

/// The stream for results.
enum StandardOutput {
  /// Sends what was printed so far, also into a pipe.
  static func flush() { fflush(nil) }
}
