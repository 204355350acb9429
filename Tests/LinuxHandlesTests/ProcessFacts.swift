// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import SystemPackage

/// What this process has at a moment.
enum ProcessFacts {
  private static var descriptorCount: Int { entryCount("/proc/self/fd") }
  private static var threadCount: Int { entryCount("/proc/self/task") }

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

  /// Repeats an operation in an exit test, and requires that neither descriptors nor threads add up.
  ///
  /// Single ones come and go with the runtime's own threads even in a process of one test, so one is no leak;
  /// one per repetition is.
  static func requireNoGrowth(
    _ what: String, times: Int = 24, _ operation: () throws -> Void
  ) rethrows {
    let before = (descriptorCount, threadCount)
    for _ in 0..<times { try operation() }
    let end = ContinuousClock.now + .seconds(60)
    while true {
      let growth = (descriptorCount - before.0, threadCount - before.1)
      if max(growth.0, growth.1) < times / 2 { return }
      require(ContinuousClock.now < end, "\(what) leaks \(growth.0) descriptors, \(growth.1) threads")
      usleep(5000)
    }
  }

  #if DEBUG
    /// Lets each kernel call of an operation fail in turn, and requires that nothing stays open or running.
    /// - Returns: How many calls were made to fail.
    static func sweep(_ operation: () throws -> Void) -> Int {
      var call = 1
      while true {
        var wasReached = false
        requireNoGrowth("call \(call)") {
          let plan = FaultPlan(atCall: call)
          do {
            try FaultPlan.$current.withValue(plan) { try operation() }
          } catch {
            require(plan.wasReached, "the operation fails without a fault: \(error)")
          }
          wasReached = plan.wasReached
        }
        if !wasReached { return call - 1 }
        call += 1
      }
    }
  #endif
}

/// A pair of sockets of which one is under test: the other sees the end exactly when that is closed.
struct ClosingWitness: ~Copyable {
  private let reader: OwnedDescriptor
  /// To be adopted once.
  let tested: CInt

  init() {
    var ends: [CInt] = [-1, -1]
    let kind = CInt(bitPattern: SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let result = unsafe socketpair(AF_UNIX, kind, 0, &ends)
    precondition(result == 0)
    reader = OwnedDescriptor(adopting: ends[0])
    tested = ends[1]
  }

  /// A process that is being started elsewhere has copies for a moment, so the end may come a little late.
  func seesEnd(within limit: Duration = .seconds(60)) -> Bool {
    let end = ContinuousClock.now + limit
    var byte: UInt8 = 0
    while true {
      if unsafe read(reader.rawValue, &byte, 1) == 0 { return true }
      if ContinuousClock.now >= end { return false }
      usleep(1000)
    }
  }
}
