// SPDX-License-Identifier: Apache-2.0

/// Times of both sides, in microseconds.
struct Times {
  private var ours: [Double] = []
  private var twins: [Double] = []

  mutating func append(_ ours: Double, _ twins: Double) {
    self.ours.append(ours)
    self.twins.append(twins)
  }

  var medians: (ours: Double, twins: Double) { (median(ours), median(twins)) }
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

func microseconds(since start: ContinuousClock.Instant) -> Double {
  start.duration(to: .now) / .microseconds(1)
}

/// A ratio is compared as it is printed.
func hundredths(_ value: Double) -> Int { Int((value * 100).rounded()) }

func text(_ ratio: Double) -> String { "\(Double(hundredths(ratio)) / 100)" }
