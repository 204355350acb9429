// SPDX-License-Identifier: Apache-2.0
internal import DriverCore
internal import LinuxHandles

extension VFIOInterruptSource {
  /// Brings the armed vectors back after a reset of the device.
  ///
  /// A line that the kernel had masked for an interrupt would wait for a driver that has nothing to acknowledge
  /// any more; being armed anew, it is unmasked. What the driver masked itself stays so.
  /// - Returns: The kind that is armed; nil for none.
  func rearmAfterReset() throws(KernelError) -> InterruptKind? {
    try restore()
    return armedKind
  }
}
