// SPDX-License-Identifier: Apache-2.0

/// What one check found.
public struct SmokeCheckResult: Hashable, Sendable {
  /// How a check ended.
  public enum Outcome: Hashable, Sendable {
    /// As it should be; with what was seen.
    case pass(_ detail: String)
    /// Not as it should be, and how.
    case fail(_ reason: String)
    /// Not checked, and why.
    case skip(_ reason: String)
  }

  /// What was checked.
  public let name: String
  /// How it ended.
  public let outcome: Outcome
  /// How long it took.
  public let duration: Duration

  /// Puts a result together.
  public init(name: String, outcome: Outcome, duration: Duration) {
    self.name = name
    self.outcome = outcome
    self.duration = duration
  }
}

extension SmokeCheckResult: CustomStringConvertible {
  /// One line: outcome, name, detail.
  public var description: String {
    switch outcome {
    case .pass(let detail): "PASS  \(name)\(detail.isEmpty ? "" : ": \(detail)")"
    case .fail(let reason): "FAIL  \(name): \(reason)"
    case .skip(let reason): "SKIP  \(name): \(reason)"
    }
  }
}

/// The results of all checks of one function, in the order in which they ran.
public struct SmokeReport: Hashable, Sendable {
  /// The results.
  public internal(set) var results: [SmokeCheckResult] = []
  /// Who held which memory while some was exposed; nil where it was not asked for.
  public internal(set) var ledger: ShareLedger?

  /// How many passed.
  public var passedCount: Int { results.count { if case .pass = $0.outcome { true } else { false } } }
  /// How many failed.
  public var failedCount: Int { results.count { if case .fail = $0.outcome { true } else { false } } }
  /// How many were skipped.
  public var skippedCount: Int { results.count { if case .skip = $0.outcome { true } else { false } } }
  /// Whether something passed and nothing failed.
  public var isGood: Bool { failedCount == 0 && passedCount > 0 }

  /// Runs one check and keeps its result.
  ///
  /// The one place where any error is caught: whatever a check meets becomes its row, and the next check runs.
  mutating func check(_ name: String, _ body: () throws -> String) {
    let start = ContinuousClock.now
    let outcome: SmokeCheckResult.Outcome
    do {
      outcome = .pass(try body())
    } catch let end as SmokeCheckEnd {
      outcome = end.outcome
    } catch {
      outcome = .fail("\(error)")
    }
    results.append(SmokeCheckResult(name: name, outcome: outcome, duration: start.duration(to: .now)))
  }
}

extension SmokeReport: CustomStringConvertible {
  /// One line for each check, and one with the counts.
  public var description: String {
    let rows = results.map { "\($0)\n" }.joined()
    return rows + "\(passedCount) passed, \(failedCount) failed, \(skippedCount) skipped"
  }
}

/// How a check ends before its end.
struct SmokeCheckEnd: Error {
  let outcome: SmokeCheckResult.Outcome

  static func failed(_ reason: String) -> SmokeCheckEnd { SmokeCheckEnd(outcome: .fail(reason)) }
  static func skipped(_ reason: String) -> SmokeCheckEnd { SmokeCheckEnd(outcome: .skip(reason)) }
}

/// Ends a check as failed unless the condition holds.
func require(_ condition: Bool, _ reason: @autoclosure () -> String) throws(SmokeCheckEnd) {
  if !condition { throw .failed(reason()) }
}

/// A number as registers are written: `0x000100ed`.
func hexadecimal<Value: FixedWidthInteger & UnsignedInteger>(_ value: Value) -> String {
  let digits = String(value, radix: 16)
  return "0x" + String(repeating: "0", count: Value.bitWidth / 4 - digits.count) + digits
}
