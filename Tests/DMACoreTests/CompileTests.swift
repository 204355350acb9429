// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// What the types keep a driver from writing: the compiler refuses it.
@Suite struct CompileTests {
  /// The compiler, as a shell would find it; nil where there is none.
  static let compiler: URL? =
    (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
    .map { URL(fileURLWithPath: "\($0)/swiftc") }
    .first { FileManager.default.isExecutableFile(atPath: $0.path) }

  @Test(
    .enabled(if: compiler != nil, "needs a Swift compiler in PATH"), arguments: CompileCase.Stage.allCases)
  func everyMisuseIsRefusedForItsReason(_ stage: CompileCase.Stage) throws {
    let cases = CompileCase.all.filter { $0.stage == stage }
    let errors = try compile(cases.map(\.refused))
    for (index, item) in cases.enumerated() {
      let own = errors[index] ?? []
      #expect(own.contains { $0.contains(item.message) }, "\(item.name): \(own)")
    }
    #expect(Set(errors.keys) == Set(cases.indices), "\(errors[-1] ?? [])")
  }

  @Test(.enabled(if: compiler != nil, "needs a Swift compiler in PATH"))
  func theRightWayIsTaken() throws {
    let errors = try compile(CompileCase.all.map(\.taken))
    #expect(errors.isEmpty, "\(errors)")
  }

  /// Compiles each line in a function of its own.
  /// - Returns: The errors by the line's index; those of other places at -1.
  private func compile(_ lines: [String]) throws -> [Int: [String]] {
    let folder = URL(fileURLWithPath: NSTemporaryDirectory() + "compile-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let source = folder.appendingPathComponent("Cases.swift")
    // Two lines each, after the import.
    let text = lines.enumerated().map { index, line in
      "func case\(index)(\(CompileCase.parameters)) throws { var unshared = unshared; _ = unshared.bytes\n"
        + "\(line) }\n"
    }
    try "import DMACore\n\(text.joined())".write(to: source, atomically: false, encoding: .utf8)
    let messages = try messages(compiling: source)
    var errors: [Int: [String]] = [:]
    for message in messages.split(separator: "\n") where message.contains(" error: ") {
      let fields = message.split(separator: ":", maxSplits: 3, omittingEmptySubsequences: false)
      let isOurs = fields.count == 4 && fields[0].hasSuffix("Cases.swift")
      let line = isOurs ? Int(fields[1]).map { ($0 - 2) / 2 } ?? -1 : -1
      errors[line, default: []].append(String(fields.last ?? message))
    }
    return errors
  }

  /// Runs the compiler, up to the checks of ownership, against the modules that were built beside this test.
  private func messages(compiling source: URL) throws -> String {
    let products = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent()
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let process = Process()
    process.executableURL = Self.compiler
    let arguments: [String] = [
      "-emit-sil", "-o", "/dev/null", "-module-name", "Cases", "-swift-version", "6",
      "-diagnostic-style", "llvm", "-enable-experimental-feature", "Lifetimes",
      "-module-cache-path", "\(products.path)/CompileCasesCache", "-I", "\(products.path)/Modules",
      "-Xcc", "-I\(root.path)/CShims/CMMIO/include", "-Xcc", "-I\(root.path)/CShims/CLinuxABI/include",
      "-I", "\(root.path)/CShims/CLibNUMA",
      "-I", "\(root.path)/.build/checkouts/swift-system/Sources/CSystem/include", source.path,
    ]
    process.arguments = arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return text
  }
}
