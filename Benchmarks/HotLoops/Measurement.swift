// SPDX-License-Identifier: Apache-2.0
internal import CTwins

/// Runs a loop and its two C twins between the profiler's marks.
///
/// Each comparison prints one line, in the order in which the profiler writes what it counted: name,
/// operations, how many times the instructions of the checked and of the unchecked twin the loop may take, or
/// "-" where there is no limit.
enum Measurement {
  typealias Loop = (UInt32) -> UInt64

  /// Enough that the calls around a loop vanish behind it: they cost below 0.001 instructions per operation.
  static let operations: UInt32 = 100_000

  static func compare(
    _ name: String, limit: Double?, uncheckedLimit: Double?, loop: Loop, twin: Loop, unchecked: Loop
  ) {
    let sums = [run(loop), run(twin), run(unchecked)]
    precondition(sums.allSatisfy { $0 == sums[0] }, "\(name) and its twins do different things: \(sums)")
    let limits = [limit, uncheckedLimit].map { $0.map { "\($0)" } ?? "-" }
    print(name, operations, limits[0], limits[1], separator: "\t")
  }

  private static func run(_ loop: Loop) -> UInt64 {
    // What happens once, such as initialising a global, is not the loop's.
    _ = loop(64)
    twin_measurement_begins()
    let sum = loop(operations)
    twin_measurement_ends()
    return sum
  }
}
