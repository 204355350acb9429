// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// What became of the frames that an interface sent.
public struct FrameCounts: Hashable, Sendable, Encodable {
  /// Put on their way to the other interface.
  public var forwarded = 0
  /// The bytes of these, without what stands before a frame.
  public var forwardedBytes = 0
  /// Dropped: the other interface's driver does not take frames.
  public var unheard = 0
  /// Dropped: the other interface's driver takes them more slowly than they come.
  public var overflowed = 0
  /// Dropped: too short, too long, in memory that is not mapped, or with a header that makes no sense.
  public var malformed = 0
  /// Dropped on the way: they do not fit the buffers of the other interface's driver.
  public var undelivered = 0
}

/// The counts while they grow: one thread adds to each, any thread reads them.
final class FrameCounters: Sendable {
  let forwarded = Atomic<Int>(0)
  let forwardedBytes = Atomic<Int>(0)
  let unheard = Atomic<Int>(0)
  let overflowed = Atomic<Int>(0)
  let malformed = Atomic<Int>(0)
  let undelivered = Atomic<Int>(0)

  var all: FrameCounts {
    var counts = FrameCounts()
    counts.forwarded = forwarded.load(ordering: .relaxed)
    counts.forwardedBytes = forwardedBytes.load(ordering: .relaxed)
    counts.unheard = unheard.load(ordering: .relaxed)
    counts.overflowed = overflowed.load(ordering: .relaxed)
    counts.malformed = malformed.load(ordering: .relaxed)
    counts.undelivered = undelivered.load(ordering: .relaxed)
    return counts
  }
}
