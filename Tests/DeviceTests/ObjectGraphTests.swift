// SPDX-License-Identifier: Apache-2.0
import Foundation
import TestSupport
import Testing

extension DeviceTests {
  /// The example that prints the objects of a live iommufd.
  @Suite struct ObjectGraphTests {
    private func printed(_ arguments: String...) throws -> String {
      let (process, output) = (Process(), Pipe())
      process.executableURL = URL(fileURLWithPath: Lab.objectGraph)
      process.arguments = arguments
      process.standardOutput = output
      try process.run()
      let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      #expect(process.terminationStatus == 0, "\(text)")
      return text
    }

    @Test func theExampleNeedsNoDevice() throws {
      let text = try printed("--svg", "/tmp/objects.svg")
      #expect(
        text.contains("IOAS ") && text.contains("fault queue ") && text.contains("digraph iommufd {"),
        "\(text)")
      // The guest has no graphviz.
      #expect(
        text.hasSuffix("}\nObjectGraph: graphviz is not installed, so that there is no /tmp/objects.svg\n"))
    }

    @Test func theExampleAttachesADevice() throws {
      try LabFunction.lend(LabFunction.edu)
      let text = try printed("0000:00:02.0")
      #expect(
        text.contains("(0000:00:02.0)") && text.contains("  RID -> HWPT ") && text.hasSuffix("}\n"), "\(text)"
      )
    }
  }
}
