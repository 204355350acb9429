// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// The program as a user runs it: its output, its messages, its exit codes.
@Suite struct VFIOCTLTests {
  struct Outcome {
    let status: Int32
    let output: String
    let messages: String
  }

  static func vfioctl(_ arguments: String...) throws -> Outcome { try vfioctl(arguments) }

  static func vfioctl(_ arguments: [String]) throws -> Outcome {
    // The program is built beside the tests.
    let folder = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
    let process = Process()
    process.executableURL = folder.appendingPathComponent("vfioctl")
    process.arguments = arguments
    let (output, messages) = (Pipe(), Pipe())
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = messages
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    let errors = String(decoding: messages.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    // What a sanitizer found in the program would be lost with its messages.
    if errors.contains("Sanitizer: ") { Issue.record("\(errors)") }
    return Outcome(status: process.terminationStatus, output: text, messages: errors)
  }

  @Test(
    arguments: ["show", "bind", "unbind", "restore", "smoke", "shares", "objects"],
    ["2", "00:02", "00:20.0", "0000:00:02.8", "x"])
  func aMalformedAddressIsWrongUsage(_ command: String, _ text: String) throws {
    let outcome = try Self.vfioctl(command, text)
    #expect(outcome.status == 64)
    #expect(outcome.messages.contains("'\(text)' is not a PCI address"), "\(outcome.messages)")
    #expect(outcome.output.isEmpty)
  }

  @Test(arguments: ["show", "bind", "unbind", "smoke", "shares", "objects"])
  func aFunctionThatIsNotThereIsNamed(_ command: String) throws {
    let outcome = try Self.vfioctl(command, "fffe:fe:1f.7")
    #expect(outcome.status == 1)
    let text = outcome.messages + outcome.output
    #expect(text.contains("fffe:fe:1f.7") || text.contains("vfio-pci"), "\(text)")
  }

  @Test func listAndGroupsPrintATableOrJSON() throws {
    for command in ["list", "groups"] {
      let table = try Self.vfioctl(command)
      #expect(table.status == 0 && !table.output.contains("\u{1b}"), "no colours into a pipe")
      let json = try Self.vfioctl(command, "--json")
      let value = try JSONSerialization.jsonObject(with: Data(json.output.utf8))
      #expect(value is [[String: Any]])
    }
    let functions = try JSONSerialization.jsonObject(with: Data(Self.vfioctl("list", "--json").output.utf8))
    for function in try #require(functions as? [[String: Any]]) {
      #expect(function["address"] is String && function["vendorID"] is String && function["bars"] is [Any])
    }
    let dot = try Self.vfioctl("groups", "--dot").output
    #expect(dot.hasPrefix("graph iommu_groups {") && dot.hasSuffix("}\n"))
  }

  @Test func theSimulatedSmokeTestPasses() throws {
    let outcome = try Self.vfioctl("smoke", "--simulated")
    #expect(outcome.status == 0, "\(outcome.output)")
    #expect(outcome.output.contains("34 passed, 0 failed, 0 skipped"), "\(outcome.output)")
  }

  /// Two simulated functions, each with parts of its buffer reached by the other.
  @Test func sharesSayWhoHoldsWhat() throws {
    let table = try Self.vfioctl("shares", "--simulated")
    #expect(table.status == 0 && table.output.hasPrefix("FUNCTION"), "\(table.messages)")
    #expect(table.output.contains("0x8000...0x9fff"), "\(table.output)")
    let json = try Self.vfioctl("shares", "--simulated", "--json")
    let rows = try #require(
      try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [[String: Any]])
    #expect(rows.count == 18)
    let shared = try #require(rows.first { $0["start"] as? String == "0x8000" })
    #expect(
      shared["holders"] as? [String] == [
        "space of simulated 0, 0x6000...0x15fff", "space of simulated 1, 0x1000...0x2fff",
      ])
    #expect(shared["firstPage"] as? Int == 2 && shared["pageCount"] as? Int == 2)
    #expect(shared["access"] as? String == "write" && shared["sharing"] as? String == "streaming")
    #expect(rows.count { ($0["holders"] as? [String])?.count == 2 } == 8)
  }

  @Test func aSmokeTestShowsItsShares() throws {
    let outcome = try Self.vfioctl("smoke", "--simulated", "--shares")
    #expect(outcome.status == 0 && outcome.output.contains("35 passed, 0 failed, 0 skipped"))
    #expect(outcome.output.contains("HELD BY") && outcome.output.contains("PASS  DMA share ledger"))
    let json = try Self.vfioctl("smoke", "--simulated", "--shares", "--json")
    let runs = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [[String: Any]]
    #expect((runs?.first?["shares"] as? [[String: Any]])?.count == 9)
  }

  @Test(arguments: [
    ("wrongIdentification", "edu identification"), ("lostInterrupt", "edu factorial by MSI"),
    ("stuckDMA", "edu DMA to the device and back, polled"),
    ("corruptedDMA", "edu DMA to the device and back by MSI"),
    ("stuckAfterFault", "edu DMA to an unmapped address"),
    ("doubledInterrupt", "edu count of MSI interrupts"),
  ])
  func aBrokenDeviceFailsTheRightCheck(_ misbehaviour: String, _ check: String) throws {
    let outcome = try Self.vfioctl("smoke", "--simulated", "--misbehaviour", misbehaviour)
    #expect(outcome.status == 1)
    let row = outcome.output.split(separator: "\n").first { $0.contains(check) }
    #expect(row?.contains("FAIL") == true, "\(outcome.output)")
    let json = try Self.vfioctl("smoke", "--simulated", "--misbehaviour", misbehaviour, "--json")
    #expect(json.status == 1)
    let runs = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [[String: Any]]
    let checks = try #require(runs?.first?["checks"] as? [[String: Any]])
    #expect(checks.contains { $0["outcome"] as? String == "FAIL" })
  }

  @Test func contradictionsAreWrongUsage() throws {
    #expect(try Self.vfioctl("smoke", "--simulated", "00:02.0").status == 64)
    #expect(try Self.vfioctl("smoke", "00:02.0", "--misbehaviour", "stuckDMA").status == 64)
    #expect(try Self.vfioctl("smoke", "--mode", "fastest").messages.contains("compat-type1v2"))
    #expect(try Self.vfioctl("smoke", "--mode", "fastest").messages.contains("noiommu-cdev"))
    #expect(try Self.vfioctl("bind").status == 64)
    #expect(try Self.vfioctl("shares").status == 64)
    #expect(try Self.vfioctl("shares", "--simulated", "00:02.0").status == 64)
    #expect(try Self.vfioctl("shares", "00:02.0", "00:02.0").messages.contains("named once"))
    #expect(try Self.vfioctl("shares", "00:02.0", "--mode", "all").messages.contains("compat-type1v2"))
  }

  /// What the README shows is what is built.
  @Test func theProgramOfTheReadmeIsTheExample() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let readme = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
    let example = try String(
      contentsOf: root.appendingPathComponent("Examples/ReadBAR/ReadBAR.swift"), encoding: .utf8)
    #expect(readme.contains("```swift\n\(example)```"))
    #expect(example.split(separator: "\n").count <= 15)
  }
}
