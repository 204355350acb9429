// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import VDUSE

/// What devices have in common that are served to the kernel.
struct ServeOptions: ParsableArguments {
  @Option(help: "How many entries each queue has at most: a power of two. (default: 1024; of net 256)")
  var queueSize: Int?
  @Flag(help: "Offer packed rings too, which the driver then takes.")
  var packed = false
  @Option(help: "Which driver gets the device: virtio_vdpa, or vhost_vdpa for a virtual machine's use.")
  var driver = "virtio_vdpa"

  func validate() throws {
    guard queueSize.map({ (4...1024).contains($0) && $0 & ($0 - 1) == 0 }) ?? true else {
      throw ValidationError("--queue-size is a power of two, 4 to 1024")
    }
  }

  /// Makes a device, or goes on with one that is there, and gives it to its driver.
  ///
  /// One that cannot be given away is taken away again, unless it was there before: it has requests that wait, and stays for the
  /// next attempt.
  /// - Parameter end: Told where serving ends by itself.
  func present(
    _ description: VDUSEDeviceDescription, _ service: any VirtioService, queueSize: Int, logPath: String,
    _ end: ServingEnd
  ) throws -> PresentedDevice {
    let name = description.name
    let device = try PresentedDevice(description, service, queueSize: queueSize, logPath: logPath) {
      StandardError.print("vfioctl: \(name): \($0)")
    } ended: {
      end.fail()
    }
    do {
      try device.attach(to: driver)
    } catch {
      if !device.isRecovered { try? device.remove() }
      throw error
    }
    return device
  }
}
