// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import SystemPackage

/// A VDUSE device from its making to its end: made, or taken over from a server that died; served; put onto the vdpa bus.
public final class PresentedDevice: Sendable {
  /// Its name.
  public let name: String
  /// Whether a process before this one served it.
  public let isRecovered: Bool
  private let control: VDUSEControl
  private let server: VDUSEServer
  private let bus = VDPABus()

  /// Makes a device and serves it; one of that name that nobody serves is taken over.
  /// - Parameters:
  ///   - description: What it is; the same as before where it is taken over.
  ///   - service: What is done with the chains of its queues.
  ///   - queueSize: The most entries of each queue.
  ///   - logPath: See ``InFlightLog``.
  ///   - report: Told, in words, of what goes wrong; called on any thread.
  ///   - ended: Called once where the server cannot go on, see ``VDUSEServer``.
  /// - Throws: `KernelError` of ``VDUSEControl``, ``VDUSEDevice``, ``InFlightLog`` and ``VDUSEServer``: `EBUSY` while another
  ///   process serves a device of that name; `EINVAL` where the device that is there is of another kind, or has another number of
  ///   queues.
  public init(
    _ description: VDUSEDeviceDescription, _ service: any VirtioService, queueSize: Int, logPath: String,
    report: @escaping @Sendable (String) -> Void, ended: @escaping @Sendable () -> Void = {}
  ) throws(KernelError) {
    name = description.name
    control = try VDUSEControl()
    isRecovered = try Self.make(description, control)
    do throws(KernelError) {
      let device = try VDUSEDevice(opening: name, apiVersion: control.apiVersion)
      if !isRecovered {
        for index in 0..<description.queueCount {
          try device.setUpQueue(index, maximumSize: queueSize, group: description.group(ofQueue: index))
        }
      }
      let queueCount = try device.queueCount
      let log = try InFlightLog(
        path: logPath, queueCount: queueCount, queueSize: queueSize, isFresh: !isRecovered)
      try Self.check(queueCount, log, against: description)
      server = try VDUSEServer(
        device, description, features: control.features, service: service, log: log,
        isRecovering: isRecovered,
        report: report, ended: ended)
    } catch {
      if !isRecovered { try? control.destroy(description.name) }
      throw error
    }
  }

  /// Whether the device was there already.
  private static func make(
    _ description: VDUSEDeviceDescription, _ control: VDUSEControl
  ) throws(KernelError) -> Bool {
    do throws(KernelError) {
      try control.create(description)
      return false
    } catch {
      guard error.errno == .fileExists else { throw error }
      return true
    }
  }

  /// Refuses to take over what is another device.
  private static func check(
    _ queueCount: Int, _ log: InFlightLog, against description: VDUSEDeviceDescription
  ) throws(KernelError) {
    let difference: String? =
      if let id = log.deviceID, id != description.deviceID {
        "it is \(id), and not \(description.deviceID)"
      } else if queueCount != description.queueCount {
        "it has \(queueCount) queues, and not \(description.queueCount)"
      } else {
        nil
      }
    if let difference {
      throw KernelError(
        operation: "take the device over", errno: .invalidArgument, subject: description.name,
        remedy: difference)
    }
    log.deviceID = description.deviceID
  }

  /// How many queues a device has that is there, such as one whose server died.
  /// - Throws: `KernelError` of ``VDUSEControl`` and ``VDUSEDevice``: `ENOENT` where there is none of that name.
  public static func queueCount(of name: String) throws(KernelError) -> Int {
    let control = try VDUSEControl()
    return try VDUSEDevice(opening: name, apiVersion: control.apiVersion).queueCount
  }

  /// Puts the device onto the bus, unless it is there, and gives it to a driver.
  /// - Parameter driver: See ``VDPABus/bind(_:to:)``; nil for whichever takes it.
  /// - Throws: `KernelError` of ``VDPABus``.
  public func attach(to driver: String? = nil) throws(KernelError) {
    if !bus.has(name) { try bus.attach(name) }
    if let driver { try bus.bind(name, to: driver) }
  }

  /// Changes a part of the configuration space, such as a disk's size; see ``VDUSEServer/changeConfiguration(_:at:)``.
  public func changeConfiguration(_ bytes: [UInt8], at offset: Int) throws(KernelError) {
    try server.changeConfiguration(bytes, at: offset)
  }

  /// Takes the device off the bus, ends its server and destroys it.
  ///
  /// A driver flushes what it has first, so that nothing is lost.
  /// - Throws: `KernelError` of ``VDPABus`` and ``VDUSEControl``.
  public func remove() throws(KernelError) {
    if bus.has(name) { try bus.detach(name) }
    server.stop()
    try control.destroy(name)
  }

  /// Ends the server alone: the device stays, and its requests wait for the next one.
  public func stop() { server.stop() }
}
