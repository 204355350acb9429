// SPDX-License-Identifier: Apache-2.0
import Foundation
public import Testing

/// The lab: a kernel in QEMU with devices that are known.
///
/// Elsewhere tests of real devices skip and say why; in the lab nothing is skipped, so that a device or a
/// node that is missing there fails.
public enum Lab {
  /// Which machine of Tests/Lab/machines this is, or nil outside the lab.
  public static var machine: String? { ProcessInfo.processInfo.environment["SWIFT_VFIO_LAB"] }

  /// Which kernel of the lab this is: `built` where nothing is said, `patched`, `stock-6.1`, `stock-6.12`.
  public static var kernel: String {
    ProcessInfo.processInfo.environment["SWIFT_VFIO_LAB_KERNEL"] ?? "built"
  }

  /// Whether tests take their time: `make soak`.
  public static var isSoak: Bool { ProcessInfo.processInfo.environment["SWIFT_VFIO_SOAK"] == "yes" }

  /// Where the debug build of the example of delegation is.
  public static var delegation: String {
    ProcessInfo.processInfo.environment["SWIFT_VFIO_DELEGATION"] ?? "/bin/Delegation"
  }

  /// Where the debug build of the example of an iommufd's objects is.
  public static var objectGraph: String {
    ProcessInfo.processInfo.environment["SWIFT_VFIO_OBJECT_GRAPH"] ?? "/bin/ObjectGraph"
  }

  /// Where the debug build of vfioctl is, for tests of the program itself.
  public static var vfioctl: String {
    ProcessInfo.processInfo.environment["SWIFT_VFIO_VFIOCTL"] ?? "/bin/vfioctl"
  }
}

extension Trait where Self == ConditionTrait {
  /// The test runs in the lab only, on a certain machine.
  public static func lab(_ machine: String) -> Self {
    .enabled(
      if: Lab.machine == machine,
      "needs the lab's machine \(machine): make test (Tests/Lab/lab run --machine \(machine))")
  }
}
