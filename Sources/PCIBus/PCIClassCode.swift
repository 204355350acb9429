// SPDX-License-Identifier: Apache-2.0

/// What kind of function it is: base class, sub-class and programming interface, 24 bits.
///
/// Source: PCI Code and ID Assignment Specification; the `class` file of sysfs.
public struct PCIClassCode: RawRepresentable, Hashable, Sendable {
  /// The 24 bits: base class in 23:16, sub-class in 15:8, interface in 7:0.
  public let rawValue: UInt32

  /// Takes 24 bits; whatever is above them is cut off.
  public init(rawValue: UInt32) { self.rawValue = rawValue & 0xff_ffff }

  /// The base class: 0x01 storage, 0x02 network, 0x03 display, 0x06 bridge.
  public var base: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 16) }
  /// The sub-class within the base class.
  public var sub: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 8) }
  /// The register-level programming interface.
  public var interface: UInt8 { UInt8(truncatingIfNeeded: rawValue) }

  /// Whether this is a bridge of any kind (base class 0x06).
  public var isBridge: Bool { base == 0x06 }
}

extension PCIClassCode: CustomStringConvertible {
  /// Six hexadecimal digits: `010802` is NVMe.
  public var description: String {
    let digits = String(rawValue, radix: 16)
    return String(repeating: "0", count: 6 - digits.count) + digits
  }
}
