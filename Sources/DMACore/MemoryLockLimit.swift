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

  /// A state that is known, such as another process's.
  public init(limit: UInt64?, locked: UInt64, pinned: UInt64, isPrivileged: Bool) {
    self.limit = limit
    self.locked = locked
    self.pinned = pinned
    self.isPrivileged = isPrivileged
  }

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

  /// Whom the kernel charges for pinned memory.
  public enum Charge: Hashable, Sendable {
    /// This process: a VFIO container, and iommufd with `RLIMIT_MODE` 1.
    case process
    /// This process's user, over all of its processes: iommufd. What the others pinned is not told by the kernel.
    case user
    /// Either: the larger of the two is taken.
    case unknown
  }

  /// More memory to pin than the limit leaves.
  public struct Shortage: Error, Hashable, Sendable, CustomStringConvertible {
    /// How much is to be pinned, in bytes.
    public let needed: UInt64
    /// How much is pinned already, in bytes.
    public let used: UInt64
    /// How much may be, in bytes.
    public let limit: UInt64

    /// What would help.
    public var remedy: String {
      let (sum, isHuge) = used.addingReportingOverflow(needed)
      let least = isHuge ? "unlimited" : "at least \(sum) bytes"
      return "raise it (ulimit -l, LimitMEMLOCK= of the service) to \(least), or grant CAP_IPC_LOCK"
    }

    /// The numbers, and what would help.
    public var description: String {
      "RLIMIT_MEMLOCK: needed \(needed) bytes, used \(used), limit \(limit); \(remedy)"
    }
  }

  /// Checks in advance that memory can be mapped for a device.
  /// - Parameters:
  ///   - byteCount: Of all that is going to be mapped. Whole pages are charged.
  ///   - charge: Whom the address space charges.
  /// - Throws: `Shortage`, with the numbers.
  public func preflight(mapping byteCount: Int, charging charge: Charge = .unknown) throws(Shortage) {
    precondition(byteCount >= 0, "a length is not negative")
    guard !isPrivileged, let limit else { return }
    let used =
      switch charge {
      case .process: locked
      case .user: pinned
      case .unknown: max(locked, pinned)
      }
    let unit = UInt64(MemoryPageSize.standard.byteCount)
    let needed = (UInt64(byteCount) + unit - 1) / unit * unit
    let (sum, isHuge) = used.addingReportingOverflow(needed)
    guard isHuge || sum > limit else { return }
    throw Shortage(needed: needed, used: used, limit: limit)
  }

  /// Advice for an `ENOMEM` of a map call, with the numbers; nil where the limit is not what stood in the way.
  public func remedy(forMapping byteCount: Int) -> String? {
    do throws(Shortage) {
      try preflight(mapping: byteCount)
      return nil
    } catch {
      return error.description
    }
  }
}

extension KernelError {
  /// Adds the numbers of the lock limit to an `ENOMEM` of a map call.
  public func advisingOnMemoryLock(mapping byteCount: Int) -> KernelError {
    guard errno == .noMemory else { return self }
    return advising((try? MemoryLockLimit.current())?.remedy(forMapping: byteCount))
  }
}
