// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import SystemPackage

/// What this process has at a moment. Exact only in an exit test, which has a process of its own.
enum ProcessFacts {
  /// How many descriptors are open.
  static var descriptorCount: Int { entryCount("/proc/self/fd") }
  /// How many threads run.
  static var threadCount: Int { entryCount("/proc/self/task") }

  private static func entryCount(_ folder: String) -> Int {
    (try? FileManager.default.contentsOfDirectory(atPath: folder).count) ?? -1
  }

  static func isOpen(_ descriptor: CInt) -> Bool { fcntl(descriptor, F_GETFD) >= 0 }

  /// An empty file without a name.
  static func temporaryFile() -> OwnedDescriptor {
    let path = "/tmp/swift-vfio-\(UUID().uuidString)"
    defer { unsafe unlink(path) }
    return OwnedDescriptor(adopting: unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600))
  }

  /// Ends an exit test as failed.
  static func require(_ condition: Bool, _ reason: String) {
    if condition { return }
    FileHandle.standardError.write(Data("\(reason)\n".utf8))
    exit(3)
  }

  #if DEBUG
    /// Lets each kernel call of an operation fail in turn, and requires that nothing stays open or running.
    /// - Returns: How many calls were made to fail.
    static func sweep(_ operation: () throws -> Void) -> Int {
      var call = 1
      while true {
        let (descriptors, threads) = (descriptorCount, threadCount)
        let plan = FaultPlan(atCall: call)
        var hasFailed = false
        do {
          try FaultPlan.$current.withValue(plan) { try operation() }
        } catch {
          hasFailed = true
        }
        require(descriptorCount == descriptors, "call \(call) leaks \(descriptorCount - descriptors) descriptors")
        require(threadCount == threads, "call \(call) leaks a thread")
        guard plan.wasReached else {
          require(!hasFailed, "the operation fails without a fault")
          return call - 1
        }
        call += 1
      }
    }
  #endif
}
