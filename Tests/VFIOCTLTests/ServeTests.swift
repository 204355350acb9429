// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// `vfioctl serve` where nothing is served: what it refuses, and what it says then.
@Suite struct ServeTests {
  @Test(
    arguments: [
      ["one"], ["a", "a"], ["a", "b", "c"], ["--mtu", "67"], ["--mtu", "65536"], ["--mtu", "x"],
      ["--echo", "a", "b"], ["--queue-size", "6"], ["--queue-size", "2048"],
    ])
  func whatIsNoNetworkIsWrongUsage(_ arguments: [String]) throws {
    let outcome = try VFIOCTLTests.vfioctl(["serve", "net"] + arguments)
    #expect(outcome.status == 64 && outcome.output.isEmpty)
    let words =
      switch arguments[0] {
      case "--echo": "one interface has one name"
      case let option where option.hasPrefix("--"): option
      default: "two interfaces have two names"
      }
    #expect(outcome.messages.contains(words), "\(outcome.messages)")
  }

  @Test(arguments: [["serve", "net"], ["serve", "net", "--json"], ["serve", "remove", "net0"]])
  func withoutVDUSEThereIsARemedy(_ arguments: [String]) throws {
    // Where there is VDUSE, the lab's tests look.
    if FileManager.default.fileExists(atPath: "/dev/vduse/control") { return }
    let outcome = try VFIOCTLTests.vfioctl(arguments)
    #expect(outcome.status == 1 && outcome.output.isEmpty)
    #expect(outcome.messages.contains("modprobe vduse"), "\(outcome.messages)")
  }
}
