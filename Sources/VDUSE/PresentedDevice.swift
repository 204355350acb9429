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
  /// - Throws: `KernelError` of ``VDUSEControl``, ``VDUSEDevice``, ``InFlightLog`` and ``VDUSEServer``: `EBUSY` while another
  ///   process serves a device of that name.
  public init(
    _ description: VDUSEDeviceDescription, _ service: any VirtioService, queueSize: Int, logPath: String,
    report: @escaping @Sendable (String) -> Void
  ) throws(KernelError) {
    name = description.name
    control = try VDUSEControl()
    isRecovered = try Self.make(description, control)
    do throws(KernelError) {
      let device = try VDUSEDevice(opening: name, apiVersion: control.apiVersion)
      if !isRecovered {
        for index in 0..<description.queueCount { try device.setUpQueue(index, maximumSize: queueSize) }
      }
      let log = try InFlightLog(
        path: logPath, queueCount: description.queueCount, queueSize: queueSize, isFresh: !isRecovered)
      server = try VDUSEServer(
        device, description, features: control.features, service: service, log: log,
        isRecovering: isRecovered,
        report: report)
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

  /// Puts the device onto the bus, unless it is there, and gives it to a driver.
  /// - Parameter driver: See ``VDPABus/bind(_:to:)``; nil for whichever takes it.
  /// - Throws: `KernelError` of ``VDPABus``.
  public func attach(to driver: String? = nil) throws(KernelError) {
    if !bus.has(name) { try bus.attach(name) }
    if let driver { try bus.bind(name, to: driver) }
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
