// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// Colours, on a terminal only, and not where the user asked for none (`NO_COLOR`,
/// `TERM=dumb`).
struct TerminalStyle {
  enum Colour: String {
    case green = "32"
    case red = "31"
    case yellow = "33"
    case bold = "1"
  }

  private let isColourful: Bool

  /// The style of standard output.
  init() {
    let terminal = unsafe getenv("TERM").map { unsafe String(cString: $0) } ?? "dumb"
    isColourful = unsafe terminal != "dumb" && isatty(STDOUT_FILENO) == 1 && getenv("NO_COLOR") == nil
  }

  func colour(_ text: String, _ colour: Colour) -> String {
    isColourful ? "\u{1b}[\(colour.rawValue)m\(text)\u{1b}[0m" : text
  }
}
