// SPDX-License-Identifier: Apache-2.0
import Foundation

/// What one of our ABI headers declares, read from its text: what is not understood is an error, so that
/// nothing is left uncompared.
struct MirrorHeader {
  struct Field: Hashable {
    let name: String
    /// `data[]`: has a place, but no size.
    let isFlexible: Bool
  }
  struct Structure {
    let name: String
    var fields: [Field] = []
  }
  struct Incomprehensible: Error, CustomStringConvertible {
    let description: String
  }

  let name: String
  private(set) var structures: [Structure] = []
  private(set) var numbers: [String] = []

  init(name: String, text: String) throws {
    self.name = name
    let code =
      text
      .replacing(#/\/\*(?s:.*?)\*\//#, with: "").replacing(#/\/\/.*/#, with: "")
    for line in code.split(separator: "\n") {
      let line = line.trimmingCharacters(in: .whitespaces)
      if structures.last != nil, isInside {
        try readField(line)
      } else {
        try readLine(line)
      }
    }
    // A second count by other means, should the reading of lines ever miss one.
    let count = code.matches(of: #/struct\s+abi_\w+\s*\{/#).count
    guard count == structures.count, !isInside else {
      throw Incomprehensible(description: "\(name): \(count) structures, understood \(structures.count)")
    }
  }

  private var isInside = false

  private mutating func readLine(_ line: String) throws {
    if let match = line.wholeMatch(of: #/struct (abi_\w+) \{/#) {
      structures.append(Structure(name: String(match.1)))
      isInside = true
    } else if let match = line.firstMatch(of: #/^#\s*define\s+(ABI_\w+)\s/#) {
      numbers.append(String(match.1))
    } else if line.contains(#/^#\s*define|\b(enum|union|typedef)\b|#pragma pack|__attribute__/#) {
      throw Incomprehensible(description: "\(name): \(line)")
    }
  }

  private mutating func readField(_ line: String) throws {
    if line == "};" {
      isInside = false
    } else if let match = line.wholeMatch(of: #/(?:struct abi_\w+|u?int\d+_t) (\w+)(\[(\w*)\])?;/#) {
      structures[structures.count - 1].fields.append(
        Field(name: String(match.1), isFlexible: match.3?.isEmpty == true))
    } else {
      throw Incomprehensible(description: "\(name): in \(structures.last?.name ?? ""): \(line)")
    }
  }
}
