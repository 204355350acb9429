// SPDX-License-Identifier: Apache-2.0
internal import DriverCore
internal import LinuxHandles

extension VFIOInterruptSource {
  /// Brings the armed vectors back after a reset of the device.
  ///
  /// The kernel keeps its triggers over a reset and writes the device's message tables anew
  /// (`pci_restore_state()`, drivers/pci/pci.c), so messages need nothing. A line that was masked when the
  /// device was reset would wait for a driver that has nothing to acknowledge any more, so it is unmasked.
  /// - Returns: The kind that is armed; nil for none.
  func rearmAfterReset() throws(KernelError) -> InterruptKind? {
    guard let kind = armedKind else { return nil }
    if kind == .intx { try unmask(.intx, vector: 0) }
    return kind
  }
}
