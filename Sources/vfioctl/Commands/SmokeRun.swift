// SPDX-License-Identifier: Apache-2.0
internal import SmokeChecks
internal import VFIO

/// The reports of one smoke test, printed as they come, or all at once as JSON.
struct SmokeRun {
  private struct Record: Encodable {
    struct Check: Encodable {
      let name: String
      let outcome: String
      let detail: String
      let milliseconds: Double
    }
    let function: String
    let mode: String?
    let checks: [Check]
    let shares: [ShareRecord]?
  }

  private let output: OutputOptions
  private let style = TerminalStyle()
  private var records: [Record] = []

  init(output: OutputOptions) { self.output = output }

  /// Whether something passed and nothing failed.
  var isGood: Bool { count("FAIL") == 0 && count("PASS") > 0 }

  mutating func add(_ report: SmokeReport, _ function: String, _ mode: VFIOMode?) {
    add(report.results, function, mode, report.ledger)
  }

  mutating func addFailed(_ function: String, _ mode: VFIOMode?, _ check: String, _ reason: String) {
    add([SmokeCheckResult(name: check, outcome: .fail(reason), duration: .zero)], function, mode)
  }

  mutating func addSkipped(_ function: String, _ mode: VFIOMode, _ reason: String) {
    add([SmokeCheckResult(name: "open", outcome: .skip(reason), duration: .zero)], function, mode)
  }

  private mutating func add(
    _ results: [SmokeCheckResult], _ function: String, _ mode: VFIOMode?, _ ledger: ShareLedger? = nil
  ) {
    let record = Record(
      function: function, mode: mode?.rawValue,
      checks: results.map { result in
        let (outcome, detail) =
          switch result.outcome {
          case .pass(let detail): ("PASS", detail)
          case .fail(let reason): ("FAIL", reason)
          case .skip(let reason): ("SKIP", reason)
          }
        let (seconds, attoseconds) = result.duration.components
        return Record.Check(
          name: result.name, outcome: outcome, detail: detail,
          milliseconds: Double(seconds) * 1e3 + (Double(attoseconds) / 1e13).rounded() / 1e2)
      }, shares: ledger.map(ShareRecord.records))
    records.append(record)
    guard !output.json else { return }
    printText(record)
    if let shares = record.shares { ShareRecord.table(of: shares).forEach { print("  \($0)") } }
  }

  private func printText(_ record: Record) {
    print(style.colour("\(record.function)\(record.mode.map { " by \($0)" } ?? "")", .bold))
    var table = TextTable(["", "CHECK", "TIME", "DETAIL"])
    for check in record.checks {
      table.append([check.outcome, check.name, "\(Int(check.milliseconds.rounded())) ms", check.detail])
    }
    let colours: [String: TerminalStyle.Colour] = ["PASS": .green, "FAIL": .red, "SKIP": .yellow]
    for line in table.lines(style: { _, column, cell in
      column == 0 ? style.colour(cell, colours[cell] ?? .bold) : cell
    }) {
      print("  \(line)")
    }
  }

  private func count(_ outcome: String) -> Int {
    records.reduce(0) { $0 + $1.checks.count { $0.outcome == outcome } }
  }

  /// Prints what is left to print.
  func finish() throws {
    if output.json { return try JSONOutput.print(records) }
    print("\(count("PASS")) passed, \(count("FAIL")) failed, \(count("SKIP")) skipped")
  }
}
