// SPDX-License-Identifier: Apache-2.0

/// What the two sides of a queue have agreed on about its rings.
///
/// Its bits are those of virtio's feature bits, so that the negotiated features of a device become this set as they
/// are: bits of no concern to a ring are dropped.
/// - Source: virtio 1.2, section 6, "Reserved Feature Bits".
@frozen
public struct QueueFeatures: OptionSet, Hashable, Sendable {
  /// The feature bits, without those that no ring cares for.
  public let rawValue: UInt64

  /// The part of negotiated features that concerns rings.
  @inlinable
  public init(rawValue: UInt64) { self.rawValue = rawValue & (0b11 << 28 | 0b11 << 34) }

  /// A descriptor may refer to a table of descriptors (VIRTIO_F_INDIRECT_DESC).
  @inlinable public static var indirectDescriptors: QueueFeatures { QueueFeatures(rawValue: 1 << 28) }
  /// Each side says up to where it does not want to be notified (VIRTIO_F_EVENT_IDX).
  @inlinable public static var eventIndex: QueueFeatures { QueueFeatures(rawValue: 1 << 29) }
  /// The ring is a packed one (VIRTIO_F_RING_PACKED): tells which type to make, and nothing to the types.
  @inlinable public static var packedRing: QueueFeatures { QueueFeatures(rawValue: 1 << 34) }
  /// Chains are used in the order in which they were made available (VIRTIO_F_IN_ORDER).
  @inlinable public static var inOrder: QueueFeatures { QueueFeatures(rawValue: 1 << 35) }
}
