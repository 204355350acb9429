// SPDX-License-Identifier: Apache-2.0
internal import CTestSupport
import LinuxHandles
internal import Synchronization

/// What the processes of root have, and one that is to be seen failing has not.
public enum Deprivation: Sendable {
  /// Root's rights: it runs as nobody.
  case rights
  /// One capability of root's.
  case capability(CapabilityFixture.Capability)
  /// The files of a folder.
  case folder(String)

  /// Runs a body on a thread of its own that gives this up for good, and with it all programs that it starts.
  public func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) throws -> Value {
    let answer = Answer<Value>()
    do {
      let thread = try OwnedThread {
        let result = Result {
          try kernelCall("deprivation") { self.giveUp() }
          return try body()
        }
        answer.result.withLock { $0 = result }
      }
      _ = consume thread
    }
    return try answer.result.withLock { $0 }.get()
  }

  private func giveUp() -> CInt {
    switch self {
    case .rights: ctest_become_user(65534)
    case .capability(let capability): ctest_lose_capability(capability.rawValue)
    case .folder(let path): unsafe path.withCString { unsafe ctest_hide_folder($0) }
    }
  }

  private final class Answer<Value: Sendable>: Sendable {
    let result = Mutex<Result<Value, any Error>>(.failure(CancellationError()))
  }
}
