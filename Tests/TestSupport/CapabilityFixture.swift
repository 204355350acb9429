// SPDX-License-Identifier: Apache-2.0
internal import CTestSupport
import LinuxHandles

/// A thread that lacks one of root's capabilities, for the time of a test.
public enum CapabilityFixture {
  /// The numbers of the kernel (include/uapi/linux/capability.h).
  public enum Capability: CInt, Sendable {
    /// Networks: interfaces, routes, generic netlink.
    case networkAdministration = 12
    /// Memory locked beyond the limit.
    case memoryLock = 14
    /// I/O ports and devices without an IOMMU.
    case rawIO = 17
    /// Physical addresses, and much else.
    case systemAdministration = 21
  }

  /// Runs a body without a capability on this thread.
  public static func without(_ capability: Capability, _ body: () throws -> Void) throws {
    try kernelCall("capset") { ctest_switch_capability(capability.rawValue, 0) }
    defer { _ = ctest_switch_capability(capability.rawValue, 1) }
    try body()
  }
}
