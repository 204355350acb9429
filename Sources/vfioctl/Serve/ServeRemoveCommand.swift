// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
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

  func run() throws {
    try reportingFailures {
      let control = try VDUSEControl()
      // Its driver waits for answers that nobody gives: an open device that is closed again has none pending.
      let bus = VDPABus()
      if bus.has(name) {
        let device = try VDUSEDevice(opening: name, apiVersion: control.apiVersion)
        let server = try VDUSEServer(
          device, VDUSEDeviceDescription(name: name, deviceID: .block, features: .max, queueCount: 0),
          features: control.features, service: NoService()
        ) { StandardError.print("vfioctl: \($0)") }
        defer { server.stop() }
        try bus.detach(name)
      }
      try control.destroy(name)
    }
  }
}

extension ServeRemoveCommand {
  /// Serves no chain: for a device without queues.
  private struct NoService: VirtioService {
    func serve(_ queue: inout ServedQueue) -> ServiceNeed { .chains }
  }
}
