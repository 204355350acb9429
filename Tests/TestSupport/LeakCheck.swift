// SPDX-License-Identifier: Apache-2.0
import Foundation

/// The open descriptors and mapped files of this process at one moment, to be compared with a later one.
///
/// Other tests run at the same time in the same process: a check concerns only what it is told to, and counts as
/// leaked only what is still there after a while.
public struct LeakCheck {
  /// Something that is open or mapped and was not before.
  public struct Leak: Error, CustomStringConvertible {
    /// What it is.
    public let description: String
  }

  private let concerns: (String) -> Bool
  private let descriptors: [String: Int]
  private let mappings: [String: Int]

  /// Notes what is open and mapped now.
  /// - Parameter concerns: Chooses by the file's path as `/proc/self/fd` shows it: `/dev/iommu`,
  ///   `anon_inode:[eventfd]`, `/memfd:x (deleted)`.
  public init(concerning concerns: @escaping (String) -> Bool = { _ in true }) {
    self.concerns = concerns
    descriptors = Self.descriptors(concerns)
    mappings = Self.mappings(concerns)
  }

  /// Compares now with then, and gives other threads up to a second to finish.
  /// - Throws: `Leak` naming the files.
  public func verify() throws {
    let end = ContinuousClock.now + .seconds(1)
    while true {
      let open = Self.excess(Self.descriptors(concerns), descriptors)
      let mapped = Self.excess(Self.mappings(concerns), mappings)
      if open.isEmpty && mapped.isEmpty { return }
      if ContinuousClock.now >= end {
        throw Leak(description: "leaked descriptors \(open), mappings \(mapped)")
      }
      usleep(5000)
    }
  }

  private static func excess(_ now: [String: Int], _ then: [String: Int]) -> [String] {
    now.filter { $0.value > then[$0.key] ?? 0 }.map { "\($0.key) x\($0.value - (then[$0.key] ?? 0))" }
      .sorted()
  }

  /// How many descriptors each file has.
  private static func descriptors(_ concerns: (String) -> Bool) -> [String: Int] {
    let folder = "/proc/self/fd"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    let targets = names.compactMap {
      try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)")
    }
    // Sockets and pipes have numbers of their own; those of the test runner come and go.
    return Dictionary(targets.filter(concerns).map { ($0, 1) }, uniquingKeysWith: +)
  }

  /// How many mappings each file has.
  ///
  /// Memory without a file is the allocator's and grows as it likes.
  private static func mappings(_ concerns: (String) -> Bool) -> [String: Int] {
    // Not String(contentsOfFile:), which ends after the first 4 KiB of a file whose size is told as 0.
    let handle = FileHandle(forReadingAtPath: "/proc/self/maps")
    let text = String(decoding: (try? handle?.readToEnd()) ?? Data(), as: UTF8.self)
    let files = text.split(separator: "\n").compactMap { line -> String? in
      let fields = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
      guard fields.count == 6 else { return nil }
      let file = fields[5].trimmingCharacters(in: .whitespaces)
      return file.hasPrefix("[") || file.contains(".so") ? nil : file
    }
    return Dictionary(files.filter(concerns).map { ($0, 1) }, uniquingKeysWith: +)
  }
}
