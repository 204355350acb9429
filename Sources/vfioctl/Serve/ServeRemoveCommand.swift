// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import FoundationEssentials
internal import LinuxHandles
internal import VDUSE
internal import Virtqueues

/// The command `vfioctl serve remove NAME`.
struct ServeRemoveCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove", abstract: "Take a device away that no server serves any more.",
    discussion: "Requests that wait for its server end in errors.")

  @Argument(help: "The device's name.")
  var name: String
  @Option(help: "Where its server noted the requests in flight. (default: /run/vduse-NAME.log)")
  var log: String?

  func run() throws {
    try reportingFailures {
      let control = try VDUSEControl()
      let bus = VDPABus()
      if bus.has(name) {
        let device = try VDUSEDevice(opening: name, apiVersion: control.apiVersion)
        // One that the kernel has given up takes no answers, and nobody waits for any.
        let server = device.isGivenUp ? nil : try refuse(device, control)
        defer { server?.stop() }
        try bus.detach(name)
      }
      try control.destroy(name)
    }
  }

  /// Serves a device whose driver waits for answers that nobody gives.
  private func refuse(_ device: consuming VDUSEDevice, _ control: VDUSEControl) throws -> VDUSEServer {
    let queueCount = isDisk ? try device.queueCount : 0
    return try VDUSEServer(
      device, VDUSEDeviceDescription(name: name, deviceID: .block, features: .max, queueCount: queueCount),
      features: control.features, service: RefusingService(), log: openLog(queueCount), isRecovering: true
    ) { StandardError.print("vfioctl: \($0)") }
  }

  /// Whether this kernel has it as a disk, whose driver does not let go before all its requests are answered.
  private var isDisk: Bool {
    let folder = "/sys/bus/vdpa/devices/\(name)"
    let virtio = try? FileManager.default.contentsOfDirectory(atPath: folder).first { $0.hasPrefix("virtio") }
    guard let virtio, let id = FileManager.default.contents(atPath: "\(folder)/\(virtio)/device") else {
      return false
    }
    return String(decoding: id, as: UTF8.self) == "0x0002\n"
  }

  /// What a packed ring needs; nil where there is none.
  private func openLog(_ queueCount: Int) -> InFlightLog? {
    let path = log ?? "/run/vduse-\(name).log"
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    return try? InFlightLog(path: path, queueCount: queueCount, queueSize: 1, isFresh: false)
  }
}

/// Answers each request of a disk with an I/O error.
private struct RefusingService: VirtioService {
  func serve(_ queue: inout ServedQueue) throws(QueueError) -> ServiceNeed {
    while let chain = try queue.take() {
      let room = Int(chain.writableByteCount)
      // VIRTIO_BLK_S_IOERR, in the last byte.
      let isTold = room > 0 && ChainBytes(chain).store(1, at: room - 1, of: queue)
      queue.complete(chain, writtenByteCount: isTold ? 1 : 0)
    }
    return .chains
  }
}
