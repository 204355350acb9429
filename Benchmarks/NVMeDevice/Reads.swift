// SPDX-License-Identifier: Apache-2.0
internal import PCIBus

/// Reads a second of both sides, which take turns on two equal functions; C's does the same accesses as ours, then those
/// of libvfn.
struct Reads {
  /// How many times those of C, by the same accesses.
  private static let limit = 1.0
  /// How often the sides take turns in one half of a run.
  private static let turns = 60

  /// What the turns of one run gave: microseconds of a read, and how many times C's rate ours was.
  private struct Run {
    var ours: [Double] = []
    var twin: [Double] = []
    var libvfn: [Double] = []
  }

  private let label: String
  /// Reads a second of the kernel's driver, for each workload.
  private let kernel: [Double]
  /// For each workload, the medians of each run.
  private var figures = Workload.all.map { _ in [Figures]() }

  private struct Figures {
    let rate, twinRate, libvfnRate, ratio, libvfnRatio: Double

    /// Neighbouring turns are compared, since the host changes its pace in between.
    init(_ run: Run) {
      rate = 1e6 / median(run.ours)
      twinRate = 1e6 / median(run.twin)
      libvfnRate = 1e6 / median(run.libvfn)
      ratio = median(zip(run.twin, run.ours).map { $0 / $1 })
      libvfnRatio = median(zip(run.libvfn, run.ours).map { $0 / $1 })
    }
  }

  init(label: String, kernel: [Double]) {
    self.label = label
    self.kernel = kernel
  }

  /// One run: each side on each of the functions.
  mutating func run(on first: PCIAddress, _ second: PCIAddress) throws {
    var runs = Workload.all.map { _ in Run() }
    for (mine, other) in [(first, second), (second, first)] {
      var driver = try OurDriver(mine)
      var twin = try TwinDriver(other)
      for (index, workload) in Workload.all.enumerated() {
        for turn in 0..<Self.turns {
          for place in 0..<3 {
            switch (turn + place) % 3 {
            case 0: runs[index].ours.append(try Self.time(of: workload, &driver))
            case 1:
              twin.savesAccesses = true
              runs[index].twin.append(try Self.time(of: workload, &twin))
            default:
              twin.savesAccesses = false
              runs[index].libvfn.append(try Self.time(of: workload, &twin))
            }
          }
        }
      }
    }
    for index in Workload.all.indices { figures[index].append(Figures(runs[index])) }
  }

  private static func time<Driver: Contestant & ~Copyable>(
    of workload: Workload, _ driver: inout Driver
  ) throws -> Double {
    let start = ContinuousClock.now
    try driver.reads(workload)
    return microseconds(since: start) / Double(workload.count)
  }

  /// Prints a line for each workload, of the medians of all runs.
  /// - Returns: Whether all figures are within their limit.
  func report() -> Bool {
    var isGood = true
    for (index, workload) in Workload.all.enumerated() {
      let runs = figures[index]
      let (ours, ratio) = (median(runs.map(\.rate)), median(runs.map(\.ratio)))
      if hundredths(ratio) < hundredths(Self.limit) { isGood = false }
      var columns = ["\(label), \(workload.name)", "\(Int(ours))", "\(Int(median(runs.map(\.twinRate))))"]
      columns += [text(ratio), "\(Self.limit)", "\(Int(median(runs.map(\.libvfnRate))))"]
      columns.append(text(median(runs.map(\.libvfnRatio))))
      if kernel.indices.contains(index), kernel[index] > 0 {
        columns += ["\(Int(kernel[index]))", text(ours / kernel[index])]
      } else {
        columns += ["-", "-"]
      }
      print("| \(columns.joined(separator: " | ")) |")
    }
    return isGood
  }
}
