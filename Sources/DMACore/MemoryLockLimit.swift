// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import Glibc
internal import SystemPackage

/// How much memory this process may pin, and how much it has pinned.
///
/// The container charges the process (`VmLck`); iommufd charges the user, and shows it as `VmPin`.
/// - Source: Documentation/userspace-api/iommufd.rst; `proc_pid_status(5)`.
public struct MemoryLockLimit: Hashable, Sendable {
  /// In bytes; nil without a limit.
  public let limit: UInt64?
  /// In bytes: `VmLck`.
  public let locked: UInt64
  /// In bytes: `VmPin`.
  public let pinned: UInt64
  /// Whether CAP_IPC_LOCK lifts the limit.
  public let isPrivileged: Bool

  /// Reads the present state of this process, and the privilege of this thread.
  /// - Throws: `KernelError` for `getrlimit` or for /proc/thread-self/status.
  public static func current() throws(KernelError) -> MemoryLockLimit {
    var limit = rlimit()
    try kernelCall("getrlimit", on: "RLIMIT_MEMLOCK") {
      unsafe getrlimit(__rlimit_resource_t(8), &limit) == 0 ? 0 : -CInt(Errno.invalidArgument.rawValue)
    }
    // Capabilities belong to threads; /proc/self is the process's first one.
    let status = try TextFile.contents(of: "/proc/thread-self/status")
    func field(_ name: String) -> Substring? {
      for line in status.split(separator: "\n") where line.hasPrefix(name + ":") {
        return line.dropFirst(name.count + 1).drop { $0 == " " || $0 == "\t" }
      }
      return nil
    }
    func kilobytes(_ name: String) -> UInt64 {
      (field(name)?.split(separator: " ").first).flatMap { UInt64($0) } ?? 0
    }
    let capabilities = field("CapEff").flatMap { UInt64($0, radix: 16) } ?? 0
    return MemoryLockLimit(
      limit: limit.rlim_cur == rlim_t.max ? nil : UInt64(limit.rlim_cur), locked: kilobytes("VmLck") << 10,
      pinned: kilobytes("VmPin") << 10, isPrivileged: capabilities & 1 << 14 != 0)
  }

  /// Advice for an `ENOMEM` of a map call, with the numbers; nil where the limit is not what stood in the way.
  public func remedy(forMapping byteCount: Int) -> String? {
    guard !isPrivileged, let limit, max(locked, pinned) + UInt64(byteCount) > limit else { return nil }
    let used = max(locked, pinned)
    return "RLIMIT_MEMLOCK: needed \(byteCount) bytes, used \(used), limit \(limit); "
      + "raise it (ulimit -l, LimitMEMLOCK= of the service) to at least \(used + UInt64(byteCount)) bytes, "
      + "or grant CAP_IPC_LOCK"
  }
}

extension KernelError {
  /// Adds the numbers of the lock limit to an `ENOMEM` of a map call.
  public func advisingOnMemoryLock(mapping byteCount: Int) -> KernelError {
    guard errno == .noMemory else { return self }
    return advising((try? MemoryLockLimit.current())?.remedy(forMapping: byteCount))
  }
}
