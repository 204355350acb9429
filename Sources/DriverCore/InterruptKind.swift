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

/// What a function has of one kind of interrupt, and what can be done with it.
public struct InterruptFacts: Hashable, Sendable {
  /// How many vectors there are.
  public let vectorCount: Int
  /// Whether vectors can be added while others are armed; if not, all are armed at once.
  public let isExtensible: Bool
  /// Whether a vector can be held back.
  public let isMaskable: Bool

  /// Puts the facts together.
  public init(vectorCount: Int, isExtensible: Bool, isMaskable: Bool) {
    self.vectorCount = vectorCount
    self.isExtensible = isExtensible
    self.isMaskable = isMaskable
  }
}
