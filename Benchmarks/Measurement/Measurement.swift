// SPDX-License-Identifier: Apache-2.0
internal import CTwins

/// Runs a loop and its two C twins between the profiler's marks.
///
/// Each comparison prints one line, in the order in which the profiler writes what it counted: name,
/// operations, and the ``Limits``, "-" where there is none; with tabs between. A line whose third field is
/// "alone" is of a loop without twins.
public enum Measurement {
  /// Does so many operations, and answers a sum that depends on all of them.
  public typealias Loop = (UInt32) -> UInt64

  /// What a loop may take; nil for no limit.
  public struct Limits {
    let checked, unchecked: Double?
    let instructions: Int?

    /// - Parameters:
    ///   - checked: How many times the instructions of the twin that checks what the loop checks.
    ///   - unchecked: How many times those of the twin that checks nothing.
    ///   - instructions: How many for each operation, whatever the twins take.
    public init(checked: Double? = nil, unchecked: Double? = nil, instructions: Int? = nil) {
      self.checked = checked
      self.unchecked = unchecked
      self.instructions = instructions
    }
  }

  /// Enough that the calls around a loop vanish behind it: they cost below 0.001 instructions per operation.
  public static let operations: UInt32 = 102_400

  /// Compares one loop with its twins, which must return the same sum.
  public static func compare(_ name: String, _ limits: Limits, loop: Loop, twin: Loop, unchecked: Loop) {
    let sums = [run(loop), run(twin), run(unchecked)]
    precondition(
      sums[0] != 0 && sums.allSatisfy { $0 == sums[0] }, "\(name) and its twins do different things: \(sums)")
    print(
      name, operations, text(limits.checked), text(limits.unchecked), text(limits.instructions),
      separator: "\t")
  }

  /// Counts a loop that has no twin: what it does is the library's own.
  public static func count(_ name: String, atMost limit: Int?, loop: Loop) {
    precondition(run(loop) != 0, "\(name) does nothing")
    print(name, operations, "alone", "-", text(limit), separator: "\t")
  }

  private static func text(_ limit: (some CustomStringConvertible)?) -> String {
    limit.map(\.description) ?? "-"
  }

  private static func run(_ loop: Loop) -> UInt64 {
    // What happens once, such as initialising a global, is not the loop's.
    _ = loop(1024)
    twin_measurement_begins()
    let sum = loop(operations)
    twin_measurement_ends()
    return sum
  }
}
