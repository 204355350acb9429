// SPDX-License-Identifier: Apache-2.0
public import DMACore

/// Which way the bytes of a streaming mapping go: what is copied, and when.
@frozen
public enum DMADirection: UInt8, Hashable, Sendable, CaseIterable {
  /// The device reads: copied by `map` and `syncForDevice`.
  case toDevice = 1
  /// The device writes: copied by `syncForCPU` and `unmap`.
  case fromDevice = 2
  /// Both.
  case bidirectional = 3

  /// What the device may do.
  @inlinable
  public var access: DMAAccess { DMAAccess(rawValue: rawValue) }

  /// Whether bytes go to the device.
  @inlinable
  var isToDevice: Bool { rawValue & 1 != 0 }

  /// Whether bytes come from the device.
  @inlinable
  var isFromDevice: Bool { rawValue & 2 != 0 }
}
