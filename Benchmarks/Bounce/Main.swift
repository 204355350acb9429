// SPDX-License-Identifier: Apache-2.0
internal import CTwins
internal import CTwinsBounce
internal import LinuxHandles
internal import SoftwareIOTLB

/// What a bounce buffer costs beside the bare copy of its bytes; see run.
///
/// Without an argument each loop and its twin run between the profiler's marks, in the order in which the lines
/// are printed. With `times` they run in turns and the ratios of their times are printed.
@main
enum Main {
  static func main() throws {
    if CommandLine.arguments.dropFirst().first == "times" { return try BounceTimes.print() }
    let stand = try BounceStand(byteCount: 1 << 20)
    for (byteCount, limit) in [(4096, "1.25"), (65536, "1.03")] {
      count("\(byteCount >> 10) KiB to the device", stand, byteCount, .toDevice, limit)
      count("\(byteCount >> 10) KiB from the device", stand, byteCount, .fromDevice, "-")
    }
  }

  private static func count(
    _ name: String, _ stand: BounceStand, _ byteCount: Int, _ direction: DMADirection, _ limit: String
  ) {
    let sums = [
      run { stand.window(byteCount, direction, buffers: 1, $0) },
      run { stand.domain(byteCount, direction, buffers: 1, $0) },
      run { stand.twin(byteCount, direction, buffers: 1, $0) },
    ]
    precondition(!sums.contains(0), "\(name): nothing was copied, \(sums)")
    Swift.print(name, BounceStand.operations, limit, separator: "\t")
  }

  private static func run(_ loop: (UInt32) -> UInt64) -> UInt64 {
    _ = loop(64)
    twin_measurement_begins()
    let sum = loop(BounceStand.operations)
    twin_measurement_ends()
    return sum
  }
}
