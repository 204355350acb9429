// SPDX-License-Identifier: Apache-2.0
internal import CTestSupport
import LinuxHandles

/// A process that may lock so much memory, for the time of a test.
public enum MemoryLockFixture {
  /// Runs a body without CAP_IPC_LOCK on this thread and with another RLIMIT_MEMLOCK in this process.
  public static func limited(to byteCount: Int, _ body: () throws -> Void) throws {
    var previous: UInt64 = 0
    try kernelCall("prlimit, capset") { unsafe ctest_limit_locked_memory(UInt64(byteCount), &previous) }
    defer { ctest_lift_locked_memory_limit(previous) }
    try body()
  }
}
