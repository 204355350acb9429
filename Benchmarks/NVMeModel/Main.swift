// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DeviceSimulation
internal import DriverCore
internal import Glibc
internal import LinuxHandles
internal import NVMeDriver

/// Reads a second of the driver on the simulated controller: the driver polls on this thread, the controller has a
/// thread of its own.
@main
enum Main {
  /// Where the blocks lie while they are read, by the length of the namespace; the figure is that of the second.
  private static let sizes: [(name: String, byteCount: Int)] = [
    ("512 KiB, in the controller's L2 cache", 512 << 10), ("8 MiB, in the L3 cache", 8 << 20),
  ]
  private static let limit = 3.0

  static func main() throws {
    let runCount = try argument(1, or: 7, "runs of each size")
    let seconds = try argument(2, or: 1, "seconds of a run")
    var rates: [[Double]] = sizes.map { _ in [] }
    // In turns, so that what else the machine does meets all of them.
    for _ in 0..<runCount {
      for index in sizes.indices {
        var reads = try Reads(byteCount: sizes[index].byteCount)
        rates[index].append(try reads.run(for: .seconds(seconds)))
      }
    }
    print("| Namespace | median | best | worst |")
    print("|---|---:|---:|---:|")
    for (size, rates) in zip(sizes, rates.map { $0.sorted() }) {
      let (worst, best) = (rates[0], rates[rates.count - 1])
      let median = (rates[(rates.count - 1) / 2] + rates[rates.count / 2]) / 2
      print("| \(size.name) | \(text(median)) | \(text(best)) | \(text(worst)) |")
    }
    print(
      "\nMillion reads of 4 KiB a second, depth 32, \(runCount) runs of \(seconds) s each; load \(load())")
    // What else runs on the machine takes a part of it, and never adds one.
    guard let best = rates[1].max(), best >= limit else {
      print("No run of the second row reached \(text(limit)) million.")
      exit(1)
    }
  }

  private static func argument(_ index: Int, or usual: Int, _ what: String) throws -> Int {
    guard CommandLine.arguments.count > index else { return usual }
    guard let number = Int(CommandLine.arguments[index]), number > 0 else {
      print("usage: NVMeModelReads [RUNS [SECONDS]]; \(CommandLine.arguments[index]) is no number of \(what)")
      exit(2)
    }
    return number
  }

  private static func text(_ rate: Double) -> String {
    let hundredths = Int(rate * 100)
    return "\(hundredths / 100).\(hundredths / 10 % 10)\(hundredths % 10)"
  }

  private static func load() -> String {
    var averages = [0.0]
    return unsafe getloadavg(&averages, 1) == 1 ? text(averages[0]) : "unknown"
  }
}
