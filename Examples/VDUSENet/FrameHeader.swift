// SPDX-License-Identifier: Apache-2.0

/// What stands before a frame in a queue: what is left to do to it, and how many buffers it takes.
///
/// It is read and written where the frame lies, in memory of this process.
/// - Source: `struct virtio_net_hdr`, Virtual I/O Device Specification 1.2, section 5.1.6.
@safe
struct FrameHeader {
  static let byteCount = 12
  /// Of the flags: the checksum is to be completed.
  private static let needsChecksum: UInt8 = 1

  private let packet: UnsafeMutableRawBufferPointer

  /// - Parameter packet: A header and a frame; stays there while this is used.
  @unsafe
  init(unsafeStartOf packet: UnsafeMutableRawBufferPointer) {
    precondition(packet.count >= Self.byteCount, "the header is there")
    unsafe self.packet = packet
  }

  /// Checks what a driver wrote, and takes out what means nothing to another driver; false for what makes no sense.
  func isAccepted() -> Bool {
    let flags = unsafe packet[0] & Self.needsChecksum
    // Frames that are to be cut into several were not offered.
    guard unsafe packet[1] == 0 else { return false }
    if unsafe flags != 0 && checksumPlace + 2 > packet.count { return false }
    unsafe packet[0] = flags
    if flags == 0 {
      // No length of headers, no segments, no place of a checksum.
      for index in 1..<10 { unsafe packet[index] = 0 }
    }
    return true
  }

  /// Completes the checksum, where that is left to do, for a driver that does not.
  func completeChecksum() {
    guard unsafe packet[0] & Self.needsChecksum != 0 else { return }
    let (start, place) = (Self.byteCount + word(at: 6), checksumPlace)
    var sum = 0
    for index in unsafe start..<packet.count {
      // Words have their first byte on top.
      sum += unsafe Int(packet[index]) << ((index - start) & 1 == 0 ? 8 : 0)
    }
    while sum >> 16 != 0 { sum = sum & 0xffff + sum >> 16 }
    // Of the two zeroes, the one that does not say that there is no checksum.
    let checksum = sum == 0xffff ? 0xffff : ~sum & 0xffff
    unsafe packet[place] = UInt8(truncatingIfNeeded: checksum >> 8)
    unsafe packet[place + 1] = UInt8(truncatingIfNeeded: checksum)
    for index in 0..<10 { unsafe packet[index] = 0 }
  }

  /// Makes the frame one for its sender, from its receiver; it has both addresses.
  func exchangeAddresses() {
    for index in Self.byteCount..<Self.byteCount + MACAddress.byteCount {
      unsafe packet.swapAt(index, index + MACAddress.byteCount)
    }
  }

  /// Says in how many buffers the frame comes.
  func setBufferCount(_ count: Int) {
    unsafe packet[10] = UInt8(truncatingIfNeeded: count)
    unsafe packet[11] = UInt8(truncatingIfNeeded: count >> 8)
  }

  /// Where the checksum is: behind the place from which it counts.
  private var checksumPlace: Int { Self.byteCount + word(at: 6) + word(at: 8) }

  private func word(at offset: Int) -> Int {
    unsafe Int(packet[offset]) | Int(packet[offset + 1]) << 8
  }
}
