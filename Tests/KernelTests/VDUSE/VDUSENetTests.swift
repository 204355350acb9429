// SPDX-License-Identifier: Apache-2.0
import CNetwork
import Foundation
import LinuxHandles
import SystemPackage
import TestSupport
import Testing
import VDUSE
import VDUSENet

extension KernelTests {
  /// T2: the kernel's own network driver on two interfaces that this process serves, each in a namespace.
  @Suite struct VDUSENetTests {
    /// The two devices of a bridge, on the bus.
    final class ServedBridge {
      let bridge: NetworkBridge
      let names = ["n0", "n1"]
      let reports = ServedDisk.Reports()
      private(set) var devices: [PresentedDevice] = []
      private var isOver = false

      init(_ scratch: Scratch, mtu: Int = 1500, isPacked: Bool = false) throws {
        bridge = NetworkBridge(
          MACAddress(for: "n0"), MACAddress(for: "n1"), mtu: mtu, offersPackedRings: isPacked)
        let reports = reports
        for (name, port) in zip(names, [bridge.first, bridge.second]) {
          let device = try PresentedDevice(
            port.description(name: name), port, queueSize: port.maximumQueueSize,
            logPath: "\(scratch.path)/\(name).log"
          ) { reports.add($0) }
          devices.append(device)
          try device.attach(to: "virtio_vdpa")
        }
      }

      func remove() throws {
        isOver = true
        for device in devices { try device.remove() }
      }

      deinit { if !isOver { for device in devices { try? device.remove() } } }
    }

    @Test(arguments: [false, true], [1500, 9000])
    func pingAndStreamsGoAcross(_ isPacked: Bool, _ mtu: Int) throws {
      let scratch = try Scratch()
      let served = try ServedBridge(scratch, mtu: mtu, isPacked: isPacked)
      let features = try String(
        contentsOfFile: "/sys/bus/vdpa/devices/n0/\(Self.virtio(of: "n0"))/features", encoding: .utf8)
      // From bit 0 on: what was agreed on.
      #expect(Array(features)[34] == (isPacked ? "1" : "0") && Array(features)[15] == "1", "\(features)")
      let pair = try NetworkPair(served.names)
      for byteCount in [0, 1, 56, 1400, mtu - 28, 20_000] {
        for side in 0...1 { try pair.ping(from: side, byteCount: byteCount) }
      }
      try pair.exchange(4 << 20)
      for counts in [served.bridge.first.counts, served.bridge.second.counts] {
        #expect(counts.forwardedBytes > 4 << 20)
        #expect(counts.malformed == 0 && counts.undelivered == 0, "\(counts)")
      }
      try served.remove()
      #expect(served.reports.all.isEmpty, "\(served.reports.all)")
      for name in served.names { #expect(!FileManager.default.fileExists(atPath: "/dev/vduse/\(name)")) }
    }

    private static func virtio(of name: String) throws -> String {
      let entries = try FileManager.default.contentsOfDirectory(atPath: "/sys/bus/vdpa/devices/\(name)")
      return try #require(entries.first { $0.hasPrefix("virtio") })
    }

    @Test func aSideThatIsResetComesBack() throws {
      let scratch = try Scratch()
      let served = try ServedBridge(scratch)
      let pair = try NetworkPair(served.names)
      try pair.ping()
      let driver = "/sys/bus/vdpa/drivers/virtio_vdpa"
      for _ in 0..<3 {
        // The other one goes on sending: into nothing.
        let lost = try pair.sides[0].start { network_ping(NetworkPair.addresses[1], 56, 500) }
        try Data("n1".utf8).write(to: URL(fileURLWithPath: "\(driver)/unbind"))
        _ = lost.wait()
        try Data("n1".utf8).write(to: URL(fileURLWithPath: "\(driver)/bind"))
        try pair.sides[1].take("n1", NetworkPair.addresses[1])
        try pair.ping(from: 1)
        try pair.ping(from: 0)
      }
      #expect(served.bridge.first.counts.malformed == 0)
      try served.remove()
      #expect(served.reports.all.isEmpty, "\(served.reports.all)")
    }

    @Test(arguments: [false, true])
    func aStreamOutlivesServersThatAreKilled(_ isPacked: Bool) throws {
      let flags = isPacked ? ["--packed"] : []
      var server = try Server(flags)
      #expect(server.said.contains("n0") && server.said.contains("n1") && server.said.contains(": new"))
      let pair = try NetworkPair(["n0", "n1"])
      try pair.ping()
      let ends = try pair.transfer(8 << 20, port: 7100)
      for kill in 0..<4 {
        usleep(useconds_t(150_000 + kill * 70_000))
        server.kill()
        server = try Server(flags)
        #expect(server.said.contains("resumed"))
      }
      for end in ends { #expect(end.wait() >= 0) }
      try pair.ping(from: 1)
      try server.end()
      for name in ["n0", "n1"] { #expect(!FileManager.default.fileExists(atPath: "/dev/vduse/\(name)")) }
    }

    @Test func theCommandSaysWhatIsServedAndWhatBecameOfFrames() throws {
      let server = try Server(["--json", "--mtu", "2000"])
      let start = try #require(
        JSONSerialization.jsonObject(with: Data(server.said.utf8)) as? [[String: Any]])
      #expect(start.map { $0["name"] as? String } == ["n0", "n1"])
      #expect(try start[0]["interface"] as? String == Namespace.interface(of: "n0"))
      #expect(start[0]["address"] as? String == MACAddress(for: "n0").description)
      // The names are taken while it runs, and nothing of it is touched by one that fails.
      let second = try ChildProcess(Lab.vfioctl, ["serve", "net", "other", "n1", "--logs", "/tmp"])
      let refusal = second.read()
      #expect(second.wait() != 0 && refusal.contains("another process serves this device"), "\(refusal)")
      #expect(!FileManager.default.fileExists(atPath: "/dev/vduse/other"))
      let pair = try NetworkPair(["n0", "n1"])
      try pair.ping(byteCount: 1900)
      let report = try server.end()
      let counts = try #require(JSONSerialization.jsonObject(with: Data(report.utf8)) as? [[String: Any]])
      let sent = try #require(counts.first?["sent"] as? [String: Int])
      #expect((sent["forwarded"] ?? 0) > 0 && sent["malformed"] == 0, "\(report)")
    }

    @Test func anEchoComesBack() throws {
      let server = try Server(["--echo", "--packed"], ["n0"])
      let space = try Namespace()
      let interface = try Namespace.interface(of: "n0")
      try space.take("n0", NetworkPair.addresses[0])
      for byteCount in [60, 61, 1514] {
        try space.run("echo") { unsafe network_echo(interface, CInt(byteCount), 20_000) }
      }
      try server.end()
    }

    @Test func withoutTheRightNothingIsMade() throws {
      try CapabilityFixture.without(.networkAdministration) {
        let scratch = try Scratch()
        let error = #expect(throws: KernelError.self) { try ServedBridge(scratch) }
        #expect(error?.errno == .notPermitted && error?.remedy?.contains("CAP_NET_ADMIN") == true)
      }
      #expect(!FileManager.default.fileExists(atPath: "/dev/vduse/n0"))
    }

    #if DEBUG
      @Test func whateverFailsNothingIsLeft() throws {
        let calls = try faultSweep(concerning: { $0.contains("vduse") || $0.contains("eventfd") }) { plan in
          let scratch = try Scratch()
          FaultPlan.$current.withValue(plan) {
            guard let served = try? ServedBridge(scratch) else { return }
            try? served.remove()
          }
          // What a call in the end refused is done now.
          for name in ["n0", "n1"] where FileManager.default.fileExists(atPath: "/dev/vduse/\(name)") {
            try run(Lab.vfioctl, "serve", "remove", name)
          }
        }
        #expect(calls > 20, "\(calls)")
      }
    #endif

    /// `vfioctl serve net` as a process of its own.
    private final class Server {
      private let child: ChildProcess
      let said: String

      init(_ flags: [String], _ names: [String] = ["n0", "n1"]) throws {
        child = try ChildProcess(Lab.vfioctl, ["serve", "net", "--logs", "/tmp"] + names + flags)
        var text = ""
        // A line for each, or one array.
        while !text.hasSuffix("]\n"),
          text.split(separator: "\n").count(where: { $0.hasPrefix("serving") }) < names.count
        {
          let part = child.read()
          text += part
          if part.isEmpty { break }
        }
        said = text
        try #require(text.contains(names[names.count - 1]), "\(text)")
      }

      func kill() {
        child.signal(SIGKILL)
        _ = child.wait()
      }

      /// Ends it in order.
      /// - Returns: What it said at last.
      @discardableResult
      func end() throws -> String {
        child.signal(SIGTERM)
        let text = child.readToEnd()
        try #require(child.wait() == 0, "\(text)")
        return text
      }
    }
  }
}
