// SPDX-License-Identifier: Apache-2.0

/// The three ways in which a PCI function interrupts.
public enum InterruptKind: String, CaseIterable, Hashable, Sendable {
  /// A level-triggered line, shared with other functions. Masked at each interrupt until unmasked.
  case intx = "INTx"
  /// Messages, a power of two up to 32 of them.
  case msi = "MSI"
  /// Messages, up to 2048, each with its own address.
  case msix = "MSI-X"
}
