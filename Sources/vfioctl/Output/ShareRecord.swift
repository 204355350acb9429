// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import SmokeChecks

/// Pages with the same holders as `--json` prints them.
///
/// Its keys are an interface: they are added to, never renamed.
struct ShareRecord: Encodable {
  /// Whose address space it is.
  let function: String
  let space: String
  let start: String
  let last: String
  let firstPage: Int
  let pageCount: Int
  let pageByteCount: Int
  let access: String
  let sharing: String
  let isParked: Bool
  let holders: [String]

  static func records(of ledger: ShareLedger) -> [ShareRecord] {
    ledger.spaces.flatMap { space in
      space.entries.map { entry in
        ShareRecord(
          function: space.name, space: space.label, start: entry.range.start.description,
          last: entry.range.last.description, firstPage: entry.pages.lowerBound,
          pageCount: entry.pages.count, pageByteCount: entry.pageByteCount,
          access: entry.access.description, sharing: "\(entry.sharing)", isParked: entry.isParked,
          holders: entry.holders)
      }
    }
  }

  /// A row for each record, and one more for each further holder.
  static func table(of records: [ShareRecord]) -> [String] {
    var table = TextTable(["FUNCTION", "IOVA", "PAGES", "ACCESS", "SHARING", "HELD BY"])
    for record in records {
      let end = record.firstPage + record.pageCount - 1
      let pages = record.pageCount == 1 ? "\(end)" : "\(record.firstPage)-\(end)"
      let sharing = record.isParked ? "parked" : record.sharing
      for (index, holder) in record.holders.enumerated() {
        table.append(
          index > 0
            ? ["", "", "", "", "", holder]
            : [record.function, "\(record.start)...\(record.last)", pages, record.access, sharing, holder])
      }
    }
    return table.lines()
  }
}
