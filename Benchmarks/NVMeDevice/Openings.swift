// SPDX-License-Identifier: Apache-2.0
internal import PCIBus

/// How long both sides take from nothing to the first completed read, one after the other.
struct Openings {
  private static let limit = 1.05
  private static let rounds = 11
  private var times = Times()

  mutating func run(on address: PCIAddress) throws {
    for round in 0...Self.rounds {
      let ours = try Self.time(of: OurDriver.self, on: address)
      let twins = try Self.time(of: TwinDriver.self, on: address)
      // The first round warms up.
      if round > 0 { times.append(ours, twins) }
    }
  }

  // Closing is not counted: the driver goes when the clock was read.

  private static func time<Driver: Contestant & ~Copyable>(
    of type: Driver.Type, on address: PCIAddress
  ) throws -> Double {
    let start = ContinuousClock.now
    var driver = try type.init(address)
    try driver.reads(.first)
    let time = microseconds(since: start)
    extendLifetime(driver)
    return time
  }

  /// Prints the figure.
  /// - Returns: Whether it is within its limit.
  func report() -> Bool {
    let (ours, twins) = times.medians
    print(
      "open to first read: \(Int(ours)) us, C \(Int(twins)) us, ratio \(text(ours / twins)), limit \(Self.limit)"
    )
    return hundredths(ours / twins) <= hundredths(Self.limit)
  }
}
