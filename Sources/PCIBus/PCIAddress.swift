// SPDX-License-Identifier: Apache-2.0

/// Where a PCI function sits: domain, bus, device, function, written `0000:00:02.0`.
///
/// Source: `pci_setup_device()`, drivers/pci/probe.c (`%04x:%02x:%02x.%d`); domains above 16 bits are those of
/// host bridges that Linux invents a number for, as VMD does from 0x10000 on.
public struct PCIAddress: Hashable, Sendable {
  /// The domain (PCI segment).
  public let domain: UInt32
  /// The bus within the domain.
  public let bus: UInt8
  /// The device on the bus, 0 to 31.
  public let device: UInt8
  /// The function of the device, 0 to 7.
  public let function: UInt8

  /// Creates an address from its parts; nil where the device has more than 5 bits or the function more than 3.
  public init?(domain: UInt32 = 0, bus: UInt8, device: UInt8, function: UInt8) {
    guard device < 32, function < 8 else { return nil }
    self.domain = domain
    self.bus = bus
    self.device = device
    self.function = function
  }
}

extension PCIAddress: LosslessStringConvertible {
  /// Reads `0000:00:02.0`, or `00:02.0` for domain 0; hexadecimal in either case, 4 to 8 digits of domain, 2 of
  /// bus, 2 of device and 1 of function.
  ///
  /// Nil for anything else.
  public init?(_ description: String) {
    var fields = description.split(separator: ":", omittingEmptySubsequences: false)
    let place = fields.removeLast().split(separator: ".", omittingEmptySubsequences: false)
    guard (1...2).contains(fields.count), place.count == 2 else { return nil }
    let domain = fields.count == 2 ? Self.hexadecimal(fields[0], digits: 4...8) : 0
    guard let domain,
      let bus = Self.hexadecimal(fields[fields.count - 1], digits: 2...2),
      let device = Self.hexadecimal(place[0], digits: 2...2),
      let function = Self.hexadecimal(place[1], digits: 1...1)
    else { return nil }
    self.init(domain: domain, bus: UInt8(bus), device: UInt8(device), function: UInt8(function))
  }

  /// As Linux writes it: `0000:00:02.0`.
  public var description: String {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(16)
    Self.append(domain, digits: max(4, (35 - domain.leadingZeroBitCount) / 4), to: &bytes)
    bytes.append(UInt8(ascii: ":"))
    Self.append(UInt32(bus), digits: 2, to: &bytes)
    bytes.append(UInt8(ascii: ":"))
    Self.append(UInt32(device), digits: 2, to: &bytes)
    bytes.append(UInt8(ascii: "."))
    Self.append(UInt32(function), digits: 1, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func hexadecimal(_ text: Substring, digits: ClosedRange<Int>) -> UInt32? {
    let bytes = text.utf8
    // UInt32's own parser would take a sign.
    guard digits.contains(bytes.count), text.allSatisfy({ $0.isASCII && $0.isHexDigit }) else { return nil }
    return UInt32(text, radix: 16)
  }

  private static func append(_ value: UInt32, digits: Int, to bytes: inout [UInt8]) {
    for place in (0..<digits).reversed() {
      let digit = UInt8(truncatingIfNeeded: value >> (4 * UInt32(place)) & 0xf)
      bytes.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
    }
  }
}

extension PCIAddress: Comparable {
  /// By domain, bus, device, function: the order in which a bus is scanned.
  public static func < (left: PCIAddress, right: PCIAddress) -> Bool {
    (left.domain, left.bus, left.device, left.function) < (
      right.domain, right.bus, right.device, right.function
    )
  }
}
