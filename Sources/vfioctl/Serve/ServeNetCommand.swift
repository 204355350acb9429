// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import FoundationEssentials
internal import LinuxHandles
internal import VDUSE
internal import VDUSENet

/// The command `vfioctl serve net [A B]`, or `vfioctl serve net --echo [A]`.
struct ServeNetCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "net",
    abstract: "Serve two network interfaces, each of which receives what the other one sends, or an echo.",
    discussion: """
      Runs until SIGINT or SIGTERM, then takes the interfaces away and says what became of their frames. A server that was \
      killed, or cannot go on, leaves them in place, without a link between them: the same command goes on with them.

      Needs the modules vduse and virtio_vdpa, and root (CAP_NET_ADMIN). To try it in two namespaces:
        ip netns add left;  ip link set eth1 netns left;  ip -n left address add 10.0.0.1/24 dev eth1
        ip netns add right; ip link set eth2 netns right; ip -n right address add 10.0.0.2/24 dev eth2
        ip -n left link set eth1 up; ip -n right link set eth2 up; ip netns exec left ping 10.0.0.2
      """)

  @Argument(help: "The devices' names on the vdpa bus. (default: net0 net1)")
  var names: [String] = []
  @Flag(help: "Serve one interface, which receives what it sends, with source and destination exchanged.")
  var echo = false
  @Option(help: "The most bytes of a frame without its Ethernet header: 68 to 65535.")
  var mtu = 1500
  @OptionGroup var serving: ServeOptions
  @Option(help: "The folder of the logs that a server after this one needs.")
  var logs = "/run"
  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard names.isEmpty || Set(names).count == portCount && names.count == portCount else {
      throw ValidationError(echo ? "one interface has one name" : "two interfaces have two names")
    }
    guard (68...65535).contains(mtu) else { throw ValidationError("--mtu is 68 to 65535") }
  }

  func run() throws {
    try reportingFailures {
      let end = ServingEnd()
      let names = names.isEmpty ? Array(["net0", "net1"].prefix(portCount)) : names
      let ports = ports(names.map { MACAddress(for: $0) })
      var devices: [PresentedDevice] = []
      do {
        for (name, port) in zip(names, ports) {
          devices.append(
            try serving.present(
              port.description(name: name), port, queueSize: port.maximumQueueSize,
              logPath: "\(logs)/vduse-\(name).log", end))
        }
      } catch {
        for device in devices where !device.isRecovered { try? device.remove() }
        throw error
      }
      try tell(zip(devices, ports).map { ServedInterface($0, $1) })
      try end.wait()
      // All of them, whatever becomes of one.
      let ends = devices.map { device in Result { try device.remove() } }
      try tell(zip(names, ports).map { FrameReport(name: $0, sent: $1.counts) })
      for end in ends { try end.get() }
    }
  }

  private var portCount: Int { echo ? 1 : 2 }

  private func ports(_ addresses: [MACAddress]) -> [NetworkPort] {
    let (queueSize, packed) = (serving.queueSize ?? 256, serving.packed)
    if echo {
      return [
        NetworkPort(echoing: addresses[0], mtu: mtu, queueSize: queueSize, offersPackedRings: packed)
      ]
    }
    let bridge = NetworkBridge(
      addresses[0], addresses[1], mtu: mtu, queueSize: queueSize, offersPackedRings: packed)
    return [bridge.first, bridge.second]
  }

  private func tell(_ records: [some Encodable & CustomStringConvertible]) throws {
    if output.json { try JSONOutput.print(records) } else { records.forEach { print($0) } }
    StandardOutput.flush()
  }
}

/// An interface that is served, as `--json` prints it.
private struct ServedInterface: Encodable, CustomStringConvertible {
  let name: String
  /// What the kernel calls it; nil where its driver makes no interface, or gave it to another namespace before.
  let interface: String?
  let address: String
  let isResumed: Bool

  init(_ device: PresentedDevice, _ port: NetworkPort) {
    name = device.name
    address = port.address.description
    isResumed = device.isRecovered
    // virtioN/net/eth0
    let folder = "/sys/bus/vdpa/devices/\(device.name)"
    let virtio = try? FileManager.default.contentsOfDirectory(atPath: folder).first { $0.hasPrefix("virtio") }
    interface = virtio.flatMap {
      try? FileManager.default.contentsOfDirectory(atPath: "\(folder)/\($0)/net").first
    }
  }

  var description: String {
    "serving \(name) as \(interface ?? "no interface here"), \(address): \(isResumed ? "resumed" : "new")"
  }
}

/// What became of an interface's frames, as `--json` prints it.
private struct FrameReport: Encodable, CustomStringConvertible {
  let name: String
  let sent: FrameCounts

  var description: String {
    "\(name) sent \(sent.forwarded) frames, \(sent.forwardedBytes) bytes; dropped \(sent.overflowed) for want of room, "
      + "\(sent.unheard) that nobody received, \(sent.undelivered) that did not fit, \(sent.malformed) malformed"
  }
}
