// SPDX-License-Identifier: Apache-2.0
public import DriverCore
public import LinuxHandles

/// What ``VFIODevice/resetByAnyMeans(owning:restoring:)`` did.
public struct VFIOResetReport: Hashable, Sendable {
  /// A way to reset, from the one that touches least.
  public enum Means: String, Hashable, Sendable, CaseIterable {
    /// The function alone (`VFIO_DEVICE_RESET`).
    case function = "function reset"
    /// The bus or slot with all functions on it (`VFIO_DEVICE_PCI_HOT_RESET`).
    case hotReset = "hot reset"
  }

  /// One way that was tried, and how it went.
  public struct Step: Hashable, Sendable {
    /// Which way.
    public let means: Means
    /// How often it was tried, where the kernel asked for patience.
    public let tries: Int
    /// Why it did not work; nil where it did.
    public let refusal: KernelError?
  }

  /// What is brought back after a reset.
  public struct Restoration: OptionSet, Hashable, Sendable {
    /// A set of bits, of this library's own.
    public let rawValue: UInt8
    /// Takes the bits as they are.
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// The permission for DMA, where it was given before.
    ///
    /// Only for a driver that is sure that the device, fresh from a reset, starts no transfer of its own.
    public static let busMaster = Restoration(rawValue: 1 << 0)
    /// The vectors that were armed.
    public static let interrupts = Restoration(rawValue: 1 << 1)
  }

  /// The ways that were tried, in order; the last one is the one that worked, if any did.
  public internal(set) var steps: [Step] = []
  /// Whether bus master is on now.
  public internal(set) var isBusMasterEnabled = false
  /// Whether registers answer as before: the same decoding of memory and ports is on, so windows that were
  /// opened before the reset stay good.
  public internal(set) var areWindowsUsable = true
  /// The kind of interrupts that is armed again; nil for none.
  public internal(set) var rearmed: InterruptKind?

  /// The way that worked; nil where the device was not reset.
  public var means: Means? { steps.last.flatMap { $0.refusal == nil ? $0.means : nil } }
}

extension VFIOResetReport: CustomStringConvertible {
  /// One line: `function reset refused (…); hot reset done; bus master off, MSI-X armed`.
  public var description: String {
    var parts = steps.map { step in
      let count = step.tries == 1 ? "" : " after \(step.tries) tries"
      return step.refusal.map { "\(step.means.rawValue) refused\(count) (\($0))" }
        ?? "\(step.means.rawValue) done\(count)"
    }
    if means == nil { parts.append("not reset") }
    let interrupts = rearmed.map { ", \($0.rawValue) armed" } ?? ""
    let windows = areWindowsUsable ? "" : ", windows dead"
    parts.append("bus master \(isBusMasterEnabled ? "on" : "off")\(interrupts)\(windows)")
    return parts.joined(separator: "; ")
  }
}
