// SPDX-License-Identifier: Apache-2.0
import Foundation

/// The attributes of the lab's own machine, for what the library has no business to change.
public enum Sysfs {
  /// The text of an attribute without its end of line.
  public static func text(_ path: String) throws -> String {
    try String(contentsOfFile: "/sys/\(path)", encoding: .utf8).trimmingCharacters(
      in: .whitespacesAndNewlines)
  }

  /// Writes an attribute.
  public static func write(_ text: String, to path: String) throws {
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: "/sys/\(path)"))
    try handle.write(contentsOf: Data(text.utf8))
    try handle.close()
  }

  /// The last component of a link's target.
  public static func linkName(_ path: String) throws -> String {
    (try FileManager.default.destinationOfSymbolicLink(atPath: "/sys/\(path)") as NSString).lastPathComponent
  }
}
