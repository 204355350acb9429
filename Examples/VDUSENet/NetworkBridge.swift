// SPDX-License-Identifier: Apache-2.0

/// Two network interfaces, each of which receives what the other one sends.
public final class NetworkBridge: Sendable {
  /// The two.
  public let first, second: NetworkPort

  /// Joins two interfaces.
  /// - Parameters:
  ///   - mtu: The most bytes of a frame without its Ethernet header: 68 to 65535.
  ///   - queueSize: A power of two, 4 at least.
  ///   - offersPackedRings: Whether drivers may choose packed rings.
  public init(
    _ first: MACAddress, _ second: MACAddress, mtu: Int = 1500, queueSize: Int = 256,
    offersPackedRings: Bool = false
  ) {
    let (there, back) = (FramePath(), FramePath())
    self.first = NetworkPort(
      first, mtu: mtu, queueSize: queueSize, offersPackedRings, sending: there, receiving: back)
    self.second = NetworkPort(
      second, mtu: mtu, queueSize: queueSize, offersPackedRings, sending: back, receiving: there)
  }
}
