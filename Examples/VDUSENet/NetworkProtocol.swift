// SPDX-License-Identifier: Apache-2.0

/// Numbers of a virtio network device.
/// - Source: Virtual I/O Device Specification 1.2, section 5.1, "Network Device".
enum NetworkProtocol {
  /// Where a device without more queues than these has what it writes, and what it reads.
  static let receiveQueue = 0
  static let transmitQueue = 1
  static let queueCount = 2
  /// Destination, source and type: a frame has these at least.
  static let ethernetByteCount = 14
  /// A frame may have a tag beyond what the MTU counts.
  static let tagByteCount = 4
  /// The range of MTUs that a driver takes.
  static let mtuRange = 68...65535

  /// Feature bits.
  enum Feature {
    /// The device takes frames whose checksum is to be completed.
    static let checksum: UInt64 = 1 << 0
    /// The driver does.
    static let guestChecksum: UInt64 = 1 << 1
    static let mtu: UInt64 = 1 << 3
    static let address: UInt64 = 1 << 5
    /// A frame for the driver may take several buffers.
    static let mergedBuffers: UInt64 = 1 << 15
  }

  /// The configuration space, up to what the features above need.
  static func configuration(_ address: MACAddress, mtu: Int) -> [UInt8] {
    // Between them status and number of queue pairs, which are not offered.
    address.bytes + [0, 0, 1, 0] + [UInt8(truncatingIfNeeded: mtu), UInt8(truncatingIfNeeded: mtu >> 8)]
  }
}
