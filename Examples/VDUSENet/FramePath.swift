// SPDX-License-Identifier: Apache-2.0

/// The way of frames from one interface to another: what is under way, and what became of the rest.
final class FramePath: Sendable {
  // About 700 frames of the usual length, or 15 of the longest.
  private static let byteCount = 1 << 20

  let ring = FrameRing(byteCount: byteCount)
  let counters = FrameCounters()
}
