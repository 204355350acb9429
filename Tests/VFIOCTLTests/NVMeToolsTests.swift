// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// `vfioctl nvme` on the simulated controller.
@Suite struct NVMeToolsTests {
  private func object(_ text: String) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
  }

  @Test func identifySaysWhatItIs() throws {
    let text = try VFIOCTLTests.vfioctl("nvme", "identify", "--simulated")
    #expect(text.status == 0 && text.output.contains("SIMULATED1"), "\(text.messages)")
    let json = try object(VFIOCTLTests.vfioctl("nvme", "identify", "--simulated", "--json").output)
    #expect(json["serialNumber"] as? String == "SIMULATED1" && json["queuePairCount"] as? Int == 8)
    #expect((json["namespaces"] as? [[String: Any]])?.first?["blockCount"] as? Int == 131072)
  }

  @Test func perfCountsCommandsAndTimes() throws {
    let outcome = try VFIOCTLTests.vfioctl(
      "nvme", "perf", "--simulated", "--time", "0.2", "--depth", "4", "--queues", "2", "--json")
    let record = try object(outcome.output)
    let (commands, seconds) = (record["commands"] as? Double ?? 0, record["seconds"] as? Double ?? 1)
    #expect(commands > 0 && abs((record["iops"] as? Double ?? 0) - commands / seconds) < 1)
    let times = record["percentileNanoseconds"] as? [String: Double] ?? [:]
    let sorted = ["50", "90", "99", "99.9", "99.99"].compactMap { times[$0] }
    #expect(sorted.count == 5 && sorted == sorted.sorted())
    #expect(sorted.last ?? .infinity <= record["maximumNanoseconds"] as? Double ?? 0)
  }

  @Test func writingTakesConsent() throws {
    for arguments in [["write", "--file", "/dev/null"], ["perf", "--pattern", "write", "--time", "0.1"]] {
      let refused = try VFIOCTLTests.vfioctl(["nvme"] + arguments + ["--simulated"])
      #expect(refused.status == 1 && refused.messages.contains("--destructive"), "\(refused.messages)")
      // Nobody types the serial number.
      let silent = try VFIOCTLTests.vfioctl(["nvme"] + arguments + ["--simulated", "--destructive"])
      #expect(silent.status == 1 && silent.messages.contains("nothing was written"), "\(silent.messages)")
    }
  }

  @Test func badArgumentsAreUsage() throws {
    for arguments in [
      ["identify"], ["read", "--simulated", "0000:00:04.0"], ["perf", "--simulated", "--depth", "0"],
      ["perf", "--simulated", "--pattern", "backwards"], ["write", "--simulated", "--destructive"],
    ] {
      #expect(try VFIOCTLTests.vfioctl(["nvme"] + arguments).status == 64, "\(arguments)")
    }
  }
}
