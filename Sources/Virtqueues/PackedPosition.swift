// SPDX-License-Identifier: Apache-2.0

/// A place in a packed ring, and in which of two alternating rounds.
///
/// Positions lie on a circle of twice the ring's size: both rounds, one after the other.
/// - Source: virtio 1.2, section 2.8.1, "Driver and Device Ring Wrap Counters".
@frozen @usableFromInline
struct PackedPosition: Sendable {
  /// Below the size of the ring.
  @usableFromInline var index: UInt32
  /// The wrap counter: true in the first round.
  @usableFromInline var wrap: Bool

  @inlinable @inline(__always)
  init(index: UInt32, wrap: Bool) {
    self.index = index
    self.wrap = wrap
  }

  /// The two bits that say whose turn it is.
  @inlinable static var turn: UInt16 { DescriptorFlags.available | DescriptorFlags.used }

  /// What they are when the driver has made this place available.
  @inlinable var available: UInt16 { wrap ? DescriptorFlags.available : DescriptorFlags.used }
  /// What they are when the device has used this place.
  @inlinable var used: UInt16 { wrap ? DescriptorFlags.available | DescriptorFlags.used : 0 }
  /// As the two sides write it where they say when to be notified: the wrap counter is bit 15.
  @inlinable var event: UInt16 { UInt16(truncatingIfNeeded: index) | (wrap ? 1 << 15 : 0) }

  /// The place that an event names, which may be none of the ring.
  @inlinable
  init(event: UInt16) {
    index = UInt32(event & 0x7fff)
    wrap = event & 1 << 15 != 0
  }

  /// Goes on by at most one round.
  @inlinable @inline(__always)
  mutating func advance(by count: UInt32, size: UInt32) {
    index &+= count
    if index >= size {
      index &-= size
      wrap.toggle()
    }
  }

  /// Goes back by at most one round.
  @inlinable
  mutating func retreat(by count: UInt32, size: UInt32) {
    if index < count {
      index &+= size
      wrap.toggle()
    }
    index &-= count
  }

  /// How far it is to another one, below twice the size where both are of the ring.
  @inlinable @inline(__always)
  func distance(to other: PackedPosition, size: UInt32) -> UInt32 {
    let rounds = wrap == other.wrap ? 0 : size
    let distance = Int64(other.index) &- Int64(index) &+ Int64(rounds)
    return UInt32(truncatingIfNeeded: distance < 0 ? distance &+ 2 &* Int64(size) : distance)
  }
}

/// What one side says about notifications: the place at which it waits, 16 bits, and what it wants, 16 bits.
/// - Source: virtio 1.2, section 2.8.10, "Event Suppression Structure Format".
@frozen @usableFromInline
struct PackedEvent {
  @usableFromInline let rawValue: UInt32

  @inlinable
  init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Notify me of everything.
  @inlinable static var always: PackedEvent { PackedEvent(rawValue: 0) }
  /// Notify me of nothing.
  @inlinable static var never: PackedEvent { PackedEvent(rawValue: 1 << 16) }
  /// Notify me when you pass a place.
  @inlinable
  static func at(_ position: PackedPosition) -> PackedEvent {
    PackedEvent(rawValue: 2 << 16 | UInt32(position.event))
  }

  /// Whether the one who says this wants to know of what lies from one place up to another.
  @inlinable
  func wants(from first: PackedPosition, to end: PackedPosition, size: UInt32, eventIndex: Bool) -> Bool {
    switch rawValue &>> 16 & 3 {
    case 1: return false
    case 2 where eventIndex:
      let place = PackedPosition(event: UInt16(truncatingIfNeeded: rawValue))
      return first.distance(to: place, size: size) < first.distance(to: end, size: size)
    default: return true
    }
  }
}
