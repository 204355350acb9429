// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles

/// The addresses and routes of the network interfaces at one moment.
public struct NetworkState: Hashable, Sendable {
  /// One address or one route of an interface.
  public struct Use: Hashable, Sendable, CustomStringConvertible {
    /// Whether it is an address of the interface or a way to others.
    public enum Kind: Hashable, Sendable {
      /// An address of the interface.
      case address
      /// A route to a network of this prefix length in bits.
      case route(prefixLength: Int)
    }

    /// The name of the interface.
    public let interface: String
    /// What it is.
    public let kind: Kind
    /// The address in network order: 4 bytes or 16.
    public let bytes: [UInt8]

    /// Creates a use from its parts.
    public init(interface: String, kind: Kind, bytes: [UInt8]) {
      self.interface = interface
      self.kind = kind
      self.bytes = bytes
    }

    /// Whether it reaches no further than the link, and exists on every interface that is up: 169.254.0.0/16,
    /// fe80::/10, and the multicast routes ff00::/8.
    public var isLinkLocal: Bool {
      if bytes.count == 4 { return bytes[0] == 169 && bytes[1] == 254 }
      guard bytes.count == 16 else { return false }
      return (bytes[0] == 0xfe && bytes[1] & 0xc0 == 0x80) || bytes[0] == 0xff
    }

    /// `the address 192.0.2.2`, `the route 0.0.0.0/0`.
    public var description: String {
      let text =
        bytes.count == 4
        ? bytes.map { "\($0)" }.joined(separator: ".")
        : stride(from: 0, to: bytes.count - 1, by: 2)
          .map { String(UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]), radix: 16) }.joined(separator: ":")
      switch kind {
      case .address: return "the address \(text)"
      case .route(let length): return "the route \(text)/\(length)"
      }
    }
  }

  /// All of them, link-local ones as well.
  public var uses: [Use]

  /// Creates a state from its parts.
  public init(uses: [Use] = []) { self.uses = uses }

  /// The addresses of this network namespace, and the routes of `/proc/net` below a root.
  /// - Throws: `KernelError` for `getifaddrs` or a file that cannot be read.
  /// - Source: getifaddrs(3); `/proc/net/route` and `/proc/net/ipv6_route`, net/ipv4/fib_trie.c, net/ipv6/route.c.
  public static func current(root: SystemRoot = .host) throws(KernelError) -> NetworkState {
    var capacity = 16384
    while true {
      var buffer = [UInt8](repeating: 0, count: capacity)
      let count = try kernelCall("getifaddrs") {
        unsafe buffer.withUnsafeMutableBytes { bytes in
          unsafe abi_interface_addresses(
            bytes.baseAddress?.assumingMemoryBound(to: CChar.self), UInt64(bytes.count))
        }
      }
      if Int(count) > capacity {
        capacity = Int(count) * 2
        continue
      }
      let text = String(decoding: buffer[..<Int(count)], as: UTF8.self)
      return NetworkState(
        uses: addresses(text) + routes4(try root.attribute("proc/net/route") ?? "")
          + routes6(try root.attribute("proc/net/ipv6_route") ?? ""))
    }
  }

  private static func addresses(_ text: String) -> [Use] {
    text.split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ")
      guard fields.count == 2, let bytes = bytes(fields[1]) else { return nil }
      return Use(interface: String(fields[0]), kind: .address, bytes: bytes)
    }
  }

  /// Iface Destination Gateway Flags RefCnt Use Metric Mask …, numbers in the order of this little-endian machine.
  private static func routes4(_ text: String) -> [Use] {
    text.split(separator: "\n").dropFirst().compactMap { line in
      let fields = line.split(whereSeparator: \.isWhitespace)
      guard fields.count > 7, let bytes = bytes(fields[1]), let mask = UInt32(fields[7], radix: 16),
        let flags = UInt32(fields[3], radix: 16), flags & rejects == 0
      else { return nil }
      return Use(
        interface: String(fields[0]), kind: .route(prefixLength: mask.nonzeroBitCount),
        bytes: bytes.reversed())
    }
  }

  /// Destination Length Source Length NextHop Metric RefCnt Use Flags Iface.
  private static func routes6(_ text: String) -> [Use] {
    text.split(separator: "\n").compactMap { line in
      let fields = line.split(whereSeparator: \.isWhitespace)
      guard fields.count > 9, let bytes = bytes(fields[0]), let length = Int(fields[1], radix: 16),
        let flags = UInt32(fields[8], radix: 16), flags & rejects == 0
      else { return nil }
      return Use(interface: String(fields[9]), kind: .route(prefixLength: length), bytes: bytes)
    }
  }

  /// RTF_REJECT of include/uapi/linux/route.h: the route that says that there is none.
  private static let rejects: UInt32 = 0x200

  private static func bytes(_ hexadecimal: Substring) -> [UInt8]? {
    let digits = Array(hexadecimal)
    guard digits.count == 8 || digits.count == 32 else { return nil }
    var bytes: [UInt8] = []
    for at in stride(from: 0, to: digits.count, by: 2) {
      guard let byte = UInt8(String(digits[at...at + 1]), radix: 16) else { return nil }
      bytes.append(byte)
    }
    return bytes
  }
}
