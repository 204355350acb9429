// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Compares our headers with the kernel's by a C program made from what ours declare: whatever the compiler
/// says of the two is printed side by side.
struct HeaderComparison {
  struct Row: Hashable {
    let subject: String
    let ours: UInt64
    let kernels: UInt64
    var isEqual: Bool { ours == kernels }
  }
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// Where `cc -I` finds the kernel's headers; nil where the environment names no folder.
  static var kernelFolder: String? {
    ProcessInfo.processInfo.environment["SWIFT_VFIO_KERNEL_HEADERS"].flatMap { $0.isEmpty ? nil : $0 }
  }

  /// Our headers, by name.
  static func ourTexts() throws -> [String: String] {
    let folder = URL(filePath: #filePath).appending(path: "../../../CShims/CLinuxABI/include").standardized
    let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
    return try Dictionary(
      uniqueKeysWithValues: files.filter { $0.pathExtension == "h" }.map {
        ($0.lastPathComponent, try String(contentsOf: $0, encoding: .utf8))
      })
  }

  let texts: [String: String]
  let mirrors: [MirrorHeader]

  /// - Parameter texts: Headers by name, among them everything that they include of each other.
  init(texts: [String: String]) throws {
    self.texts = texts
    mirrors = try texts.keys.sorted().filter { KernelNames.headers[$0] != nil }.map {
      try MirrorHeader(name: $0, text: texts[$0] ?? "")
    }
  }

  /// What must be compared: every size, every field's place and size, every number.
  var subjects: [String] {
    mirrors.flatMap { mirror in
      mirror.structures.flatMap { structure in
        ["sizeof \(structure.name)"]
          + structure.fields.flatMap { field in
            let path = "\(structure.name).\(field.name)"
            return ["offsetof \(path)"] + (field.isFlexible ? [] : ["sizeof \(path)"])
          }
      } + mirror.numbers
    }
  }

  /// One statement for each of ``subjects``.
  private var program: String {
    var lines = ["#include <stddef.h>", "#include <stdio.h>"]
    for mirror in mirrors {
      lines.append("#include \"\(mirror.name)\"")
      lines.append("#include <\(KernelNames.headers[mirror.name] ?? "")>")
    }
    lines += [
      "#define ROW(subject, ours, kernels) \\",
      "  printf(\"%s\\t%llu\\t%llu\\n\", subject, (unsigned long long)(ours), (unsigned long long)(kernels))",
      "int main(void) {",
    ]
    for mirror in mirrors {
      for structure in mirror.structures {
        let (ours, kernels) = ("struct \(structure.name)", "struct \(KernelNames.structure(structure.name))")
        lines.append("  ROW(\"sizeof \(structure.name)\", sizeof(\(ours)), sizeof(\(kernels)));")
        for field in structure.fields {
          let path = "\(structure.name).\(field.name)"
          let name = KernelNames.field(field.name, of: structure.name)
          lines.append(
            "  ROW(\"offsetof \(path)\", offsetof(\(ours), \(field.name)), offsetof(\(kernels), \(name)));")
          if !field.isFlexible {
            lines.append(
              "  ROW(\"sizeof \(path)\", sizeof(((\(ours) *)0)->\(field.name)), sizeof(((\(kernels) *)0)->\(name)));"
            )
          }
        }
      }
      lines += mirror.numbers.map { "  ROW(\"\($0)\", \($0), \(KernelNames.number($0)));" }
    }
    return (lines + ["}", ""]).joined(separator: "\n")
  }

  /// Compiles and runs the program; one row for each of ``subjects``.
  func rows(kernelFolder: String) throws -> [Row] {
    let folder = FileManager.default.temporaryDirectory.appending(path: "swift-vfio-abi-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    for (name, text) in texts {
      try text.write(to: folder.appending(path: name), atomically: false, encoding: .utf8)
    }
    let source = folder.appending(path: "compare.c")
    try program.write(to: source, atomically: false, encoding: .utf8)
    let binary = folder.appending(path: "compare").path()
    _ = try Self.output([
      "cc", "-std=gnu17", "-Wall", "-Werror", "-I", kernelFolder, source.path(), "-o", binary,
    ])
    return try Self.output([binary]).split(separator: "\n").map { line in
      let parts = line.split(separator: "\t")
      guard parts.count == 3, let ours = UInt64(parts[1]), let kernels = UInt64(parts[2]) else {
        throw Failure(description: "the program printed: \(line)")
      }
      return Row(subject: String(parts[0]), ours: ours, kernels: kernels)
    }
  }

  /// What a command prints, messages included.
  private static func output(_ command: [String]) throws -> String {
    let process = Process()
    let pipe = Pipe()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = command
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let text = String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
      throw Failure(description: "\(command[0]) exits with \(process.terminationStatus):\n\(text)")
    }
    return text
  }
}
