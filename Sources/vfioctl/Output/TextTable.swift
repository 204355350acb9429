// SPDX-License-Identifier: Apache-2.0

/// Rows of text in aligned columns, without trailing blanks.
struct TextTable {
  private let header: [String]
  private var rows: [[String]] = []

  init(_ header: [String]) { self.header = header }

  mutating func append(_ row: [String]) {
    precondition(row.count == header.count, "a row has a cell for each column")
    rows.append(row)
  }

  /// All lines.
  ///
  /// `style` decorates a cell after it was padded, so that colours do not disturb the columns.
  func lines(style: (_ row: Int, _ column: Int, _ cell: String) -> String = { $2 }) -> [String] {
    let widths = header.indices.map { column in
      ([header] + rows).map { $0[column].count }.max() ?? 0
    }
    func line(_ cells: [String], _ decorate: (Int, String) -> String) -> String {
      let last = cells.lastIndex { !$0.isEmpty } ?? -1
      return cells.indices.filter { $0 <= last }.map { column in
        let cell = cells[column]
        let padding = column == last ? "" : String(repeating: " ", count: widths[column] - cell.count)
        return decorate(column, cell) + padding
      }.joined(separator: "  ")
    }
    return [line(header) { $1 }]
      + rows.enumerated().map { index, row in line(row) { style(index, $0, $1) } }
  }
}
