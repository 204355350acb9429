// SPDX-License-Identifier: Apache-2.0
internal import CTestSupport
import Foundation
import LinuxHandles

/// QEMU's own monitor, which the lab's machine reaches through its fourth serial port: a test unplugs, plugs
/// and hurts the devices of the machine that it runs in.
///
/// The protocol is QMP: one JSON object a line.
public final class LabMonitor {
  /// The monitor refused, or did not answer.
  public struct Refusal: Error, CustomStringConvertible {
    /// What it said.
    public let description: String
    /// Whether the monitor said it, or nobody did.
    let isAnswer: Bool
  }

  private static let port = "/dev/ttyS3"
  private var port: OwnedDescriptor
  private var unread: [UInt8] = []
  private var lastNumber = 0

  /// Opens the port; one monitor at a time.
  public init() throws {
    port = try Self.openPort()
    if try negotiate() { return }
    // Once in a while a boot was seen in which the port's interrupt never came. Whoever changes that is the only one to
    // have the port open, and what is changed holds from the next opening on.
    port = try OwnedDescriptor.open("/dev/null", for: .readWrite)
    let result = try Self.letPortBePolled()
    port = try Self.openPort()
    guard try negotiate() else {
      throw Refusal(
        description: "QEMU's monitor does not answer on \(Self.port), nor without interrupts (\(result))",
        isAnswer: false)
    }
  }

  private static func letPortBePolled() throws -> CInt {
    let port = try OwnedDescriptor.open(port, for: .readWrite)
    return ctest_poll_serial_port(port.rawValue)
  }

  private static func openPort() throws -> OwnedDescriptor {
    let port = try OwnedDescriptor.open(port, for: .readWrite)
    var settings = termios()
    guard unsafe tcgetattr(port.rawValue, &settings) == 0 else { throw POSIXError(.EIO) }
    unsafe cfmakeraw(&settings)
    // The faster a port, the more often it is looked at without interrupts.
    unsafe cfsetspeed(&settings, speed_t(B115200))
    settings.c_cflag |= tcflag_t(CLOCAL)
    guard unsafe tcsetattr(port.rawValue, TCSANOW, &settings) == 0 else { throw POSIXError(.EIO) }
    return port
  }

  /// Wanted once in the life of a connection; later it is refused, which says that it was done.
  ///
  /// A kernel that probed the port may have left bytes there, which spoil the first line. A byte that is no text ends whatever
  /// they began (QEMU's parser, qobject/json-lexer.c).
  /// - Returns: Whether the monitor answered.
  private func negotiate() throws -> Bool {
    try write([0xff, 0x0a])
    for _ in 0..<3 {
      do {
        try command("qmp_capabilities", patience: .seconds(3))
        return true
      } catch let refusal as Refusal {
        if refusal.isAnswer { return true }
      }
    }
    return false
  }

  /// Gives a command of QMP, and waits for its answer.
  /// - Returns: What the monitor returned, as JSON.
  @discardableResult
  public func command(
    _ name: String, _ arguments: [String: Any] = [:], patience: Duration = .seconds(20)
  ) throws -> Any {
    lastNumber += 1
    // Unlike that of any earlier monitor of this boot: its answer may still wait in the port.
    let id = "\(ObjectIdentifier(self).hashValue)-\(lastNumber)"
    var message: [String: Any] = ["execute": name, "id": id]
    if !arguments.isEmpty { message["arguments"] = arguments }
    var line = try JSONSerialization.data(withJSONObject: message)
    line.append(0x0a)
    try write([UInt8](line))
    let end = ContinuousClock.now + patience
    while let answer = try nextObject(until: end) {
      guard answer["id"] as? String == id else { continue }
      if let error = answer["error"] as? [String: Any] {
        throw Refusal(description: "\(name): \(error["desc"] ?? error)", isAnswer: true)
      }
      return answer["return"] ?? ""
    }
    throw Refusal(
      description: "\(name): QEMU's monitor does not answer on \(Self.port)", isAnswer: false)
  }

  /// Gives a command of the monitor for humans.
  /// - Returns: What it printed.
  @discardableResult
  public func humanCommand(_ line: String) throws -> String {
    try command("human-monitor-command", ["command-line": line]) as? String ?? ""
  }

  /// Asks the guest to let a device go; QEMU takes it away when the guest has powered its slot off.
  public func unplug(_ id: String) throws { try command("device_del", ["id": id]) }

  /// Plugs a device into a slot.
  public func plug(_ model: String, id: String, bus: String, _ properties: [String: Any] = [:]) throws {
    try command("device_add", properties.merging(["driver": model, "id": id, "bus": bus]) { old, _ in old })
  }

  /// Lets a device report a PCI Express error.
  public func injectError(_ name: String, into id: String) throws {
    let answer = try humanCommand("pcie_aer_inject_error \(id) \(name)")
    guard answer.hasPrefix("OK") else { throw Refusal(description: answer, isAnswer: true) }
  }

  private func write(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = unsafe rest.withUnsafeBytes {
        unsafe Foundation.write(port.rawValue, $0.baseAddress, $0.count)
      }
      guard count > 0 else { throw POSIXError(.EIO) }
      rest = rest.dropFirst(count)
    }
  }

  /// The next line that is a JSON object; nil when the time is over.
  private func nextObject(until end: ContinuousClock.Instant) throws -> [String: Any]? {
    while true {
      while let newline = unread.firstIndex(of: 0x0a) {
        let line = Data(unread[..<newline])
        unread.removeSubrange(...newline)
        // The port may have lost the beginning of a line before it was open.
        if let object = try? JSONSerialization.jsonObject(with: line) as? [String: Any] { return object }
      }
      let left = ContinuousClock.now.duration(to: end)
      guard left > .zero else { return nil }
      var entry = pollfd(fd: port.rawValue, events: Int16(POLLIN), revents: 0)
      guard unsafe poll(&entry, 1, 200) > 0 else { continue }
      var bytes = [UInt8](repeating: 0, count: 4096)
      let count = unsafe read(port.rawValue, &bytes, bytes.count)
      if count > 0 { unread += bytes[..<count] }
    }
  }
}
