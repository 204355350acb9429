// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// SIGINT and SIGTERM, kept from ending the process, so that it can end in order.
struct EndSignals {
  /// Keeps the signals from this thread and all that it starts from now on.
  init() {
    var signals = Self.set
    unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
  }

  /// Waits for one of them.
  func wait() {
    var signals = Self.set
    var signal: CInt = 0
    unsafe sigwait(&signals, &signal)
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
