// SPDX-License-Identifier: Apache-2.0

/// What a device may do with memory that it is given.
@frozen
public struct DMAAccess: OptionSet, Hashable, Sendable {
  /// The bits of the set.
  public let rawValue: UInt8
  /// Makes a set from its bits.
  @inlinable
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// The device may read: data goes to the device.
  @inlinable public static var read: DMAAccess { DMAAccess(rawValue: 1) }
  /// The device may write: data comes from the device.
  @inlinable public static var write: DMAAccess { DMAAccess(rawValue: 2) }
  /// The device may do both.
  @inlinable public static var readWrite: DMAAccess { DMAAccess(rawValue: 3) }
}

extension DMAAccess: CustomStringConvertible {
  /// `read`, `write`, `read, write` or `none`.
  public var description: String {
    let names = [(DMAAccess.read, "read"), (.write, "write")].filter { contains($0.0) }.map(\.1)
    return names.isEmpty ? "none" : names.joined(separator: ", ")
  }
}

/// How the two sides share exposed memory.
public enum DMASharing: Sendable {
  /// Both sides see one memory at any time: rings, queues.
  case coherent
  /// Data changes hands at `syncForDevice` and `syncForCPU`. Behind an IOMMU this is the same memory and the
  /// calls cost nothing; a bounce buffer or a simulation copies.
  case streaming
}

/// Who is to see memory's latest bytes.
public enum DMASyncDirection: Sendable {
  /// The device, before it is told to read.
  case forDevice
  /// The processor, after the device said that it wrote.
  case forCPU
}
