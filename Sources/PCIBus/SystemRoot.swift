// SPDX-License-Identifier: Apache-2.0

/// The folder below which `/sys`, `/proc`, `/dev` and `/run` are looked for.
///
/// Every path that this module reads or writes begins here: a tree laid out in any folder can stand for a machine.
public struct SystemRoot: Hashable, Sendable {
  /// The folder without a slash at its end; empty for `/`.
  public let prefix: String

  /// This machine: `/`.
  public static let host = SystemRoot()

  /// Names a folder.
  public init(_ path: String = "/") {
    var prefix = path[...]
    while prefix.hasSuffix("/") { prefix.removeLast() }
    self.prefix = String(prefix)
  }

  /// The whole path of a file below this root.
  /// - Parameter relative: Without a slash at its beginning: `"sys/bus/pci"`.
  public func path(_ relative: String) -> String { "\(prefix)/\(relative)" }
}
