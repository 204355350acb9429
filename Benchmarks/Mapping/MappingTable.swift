// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// The rows that were measured, and whether one of them is over its limit.
struct MappingTable {
  private var rows: [String] = []
  private var isExceeded = false

  /// Adds the two figures and their ratio.
  mutating func add(_ name: String, _ figures: MappingFigures, atMost limit: Double? = nil) {
    let ratio = figures.library / figures.calls
    add(name, figures.library, figures.calls, ratio, limit.map { ("<= \($0)", ratio > $0) })
  }

  /// Adds what this library took of one, and of another.
  mutating func add(_ name: String, _ one: MappingFigures, _ other: MappingFigures, atLeast limit: Double) {
    let gain = one.library / other.library
    add(name, one.library, other.library, gain, (">= \(limit)", gain < limit))
  }

  private mutating func add(
    _ name: String, _ first: Double, _ second: Double, _ ratio: Double, _ limit: (String, isPassed: Bool)?
  ) {
    let verdict = limit.map { ($0.isPassed ? "EXCEEDED, " : "ok, ") + $0.0 } ?? "-"
    if limit?.isPassed == true { isExceeded = true }
    let hundredths = Int((ratio * 1000).rounded())
    let (whole, rest) = (hundredths / 1000, String(hundredths % 1000))
    let text = "\(whole)." + String(repeating: "0", count: 3 - rest.count) + rest
    rows.append("| \(name) | \(Int(first)) | \(Int(second)) | \(text) | \(verdict) |")
  }

  /// Prints the table; ends the process with 1 where a limit is passed.
  func print() {
    Swift.print("| Mapping | library | kernel's calls alone | ratio | limit |")
    Swift.print("|---|---:|---:|---:|---|")
    for row in rows { Swift.print(row) }
    if isExceeded { exit(1) }
  }
}
