// SPDX-License-Identifier: Apache-2.0

/// Counts of durations in nanoseconds, each known to within 1.6 %, in memory of a fixed size: an HdrHistogram with six
/// bits below the first.
struct LatencyHistogram: Sendable {
  private static let subBits = 6
  private var counts = [UInt64](repeating: 0, count: (64 - subBits + 1) << subBits)
  private(set) var totalCount: UInt64 = 0
  private(set) var maximum: UInt64 = 0
  private var sum: UInt64 = 0

  mutating func add(_ nanoseconds: UInt64) {
    counts[Self.place(of: nanoseconds)] += 1
    totalCount += 1
    sum &+= nanoseconds
    if nanoseconds > maximum { maximum = nanoseconds }
  }

  mutating func add(_ other: LatencyHistogram) {
    for place in counts.indices { counts[place] += other.counts[place] }
    totalCount += other.totalCount
    sum &+= other.sum
    maximum = max(maximum, other.maximum)
  }

  var mean: UInt64 { totalCount == 0 ? 0 : sum / totalCount }

  /// The least duration that so large a part is not above.
  /// - Parameter part: 0 to 1.
  func percentile(_ part: Double) -> UInt64 {
    let wanted = max(1, UInt64((Double(totalCount) * part).rounded(.up)))
    var seen: UInt64 = 0
    for (place, count) in counts.enumerated() {
      seen += count
      if seen >= wanted { return min(Self.highest(at: place), maximum) }
    }
    return maximum
  }

  /// Values below 2^6 have a place each; above, each power of two has 2^6 of them.
  static func place(of value: UInt64) -> Int {
    let shift = max(0, 64 - value.leadingZeroBitCount - subBits - 1)
    return shift << subBits + Int(value >> UInt64(shift))
  }

  /// The highest value that has this place.
  static func highest(at place: Int) -> UInt64 {
    guard place >= 2 << subBits else { return UInt64(place) }
    let shift = place >> subBits - 1
    let leading = UInt64(place & (1 << subBits - 1) | 1 << subBits)
    return (leading + 1) << UInt64(shift) &- 1
  }
}
