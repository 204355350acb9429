// SPDX-License-Identifier: Apache-2.0
internal import PCIBus

/// Reads a second of both sides, which take turns on two equal functions.
struct Reads {
  /// How many times C's.
  private static let limit = 1.0
  /// How often the sides take turns in one half of a run.
  private static let turns = 20

  private let label: String
  /// Reads a second of the kernel's driver, for each workload.
  private let kernel: [Double]
  /// Of one read, for each workload.
  private var times = Workload.all.map { _ in Times() }

  init(label: String, kernel: [Double]) {
    self.label = label
    self.kernel = kernel
  }

  /// One run: each side on each of the functions.
  mutating func run(on first: PCIAddress, _ second: PCIAddress) throws {
    // What else the host does only makes a turn longer: a run's time is that of the shortest one.
    var ours = Workload.all.map { _ in [Double]() }
    var twins = ours
    for (mine, other) in [(first, second), (second, first)] {
      var driver = try OurDriver(mine)
      var twin = try TwinDriver(other)
      for (index, workload) in Workload.all.enumerated() {
        for turn in 0..<Self.turns {
          if turn % 2 == 0 { ours[index].append(try Self.time(of: workload, &driver)) }
          twins[index].append(try Self.time(of: workload, &twin))
          if turn % 2 == 1 { ours[index].append(try Self.time(of: workload, &driver)) }
        }
      }
    }
    for index in Workload.all.indices { times[index].append(ours[index].min() ?? 0, twins[index].min() ?? 0) }
  }

  private static func time<Driver: Contestant & ~Copyable>(
    of workload: Workload, _ driver: inout Driver
  ) throws -> Double {
    let start = ContinuousClock.now
    try driver.reads(workload)
    return microseconds(since: start) / Double(workload.count)
  }

  /// Prints a line for each workload.
  /// - Returns: Whether all figures are within their limit.
  func report() -> Bool {
    var isGood = true
    for (index, workload) in Workload.all.enumerated() {
      let (ours, twins) = times[index].medians
      let ratio = twins / ours
      if hundredths(ratio) < hundredths(Self.limit) { isGood = false }
      var line = "| \(label), \(workload.name) | \(Int(1e6 / ours)) | \(Int(1e6 / twins)) | \(text(ratio)) | "
      line += "\(Self.limit) | "
      if kernel.indices.contains(index), kernel[index] > 0 {
        line += "\(Int(kernel[index])) | \(text(1e6 / ours / kernel[index])) |"
      } else {
        line += "- | - |"
      }
      print(line)
    }
    return isGood
  }
}
