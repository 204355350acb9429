// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

/// The bus on which virtio devices that are not PCI meet their drivers.
///
/// A VDUSE device comes onto it by ``attach(_:managedBy:)``, and a driver of the kernel takes it at once, `virtio_vdpa` or
/// `vhost_vdpa`, whichever came first. Its server must be running by then: the driver asks questions.
/// - Source: Documentation/driver-api/vdpa and include/uapi/linux/vdpa.h, Linux 5.12; Documentation/ABI/testing/sysfs-bus-vdpa.
public struct VDPABus: Sendable {
  private let folder: String

  /// The bus of this machine.
  public init() { folder = "/sys/bus/vdpa" }

  /// Puts a device onto the bus.
  /// - Parameters:
  ///   - name: Of a VDUSE device whose queues are set up.
  ///   - manager: What makes the device on the bus.
  /// - Throws: `KernelError` for `VDPA_CMD_DEV_NEW`: `EPERM` without CAP_NET_ADMIN, `ENODEV` without the manager, `EINVAL`
  ///   without such a device or with a queue that is not set up, `EEXIST`; for `socket`.
  public func attach(_ name: String, managedBy manager: String = "vduse") throws(KernelError) {
    try ask(
      "VDPA_CMD_DEV_NEW", ABI_VDPA_CMD_DEV_NEW,
      [(ABI_VDPA_ATTR_MGMTDEV_DEV_NAME, manager), (ABI_VDPA_ATTR_DEV_NAME, name)], on: name)
  }

  /// Takes a device off the bus, and away from its driver.
  /// - Throws: `KernelError` for `VDPA_CMD_DEV_DEL`: `EPERM` without CAP_NET_ADMIN, `ENODEV` where it is not on the bus.
  public func detach(_ name: String) throws(KernelError) {
    try ask("VDPA_CMD_DEV_DEL", ABI_VDPA_CMD_DEV_DEL, [(ABI_VDPA_ATTR_DEV_NAME, name)], on: name)
  }

  /// Whether a device is on the bus.
  public func has(_ name: String) -> Bool { exists("devices/\(name)") }

  /// Which driver has a device; nil for none.
  /// - Throws: `KernelError` for `readlink`.
  public func driver(of name: String) throws(KernelError) -> String? {
    let path = "\(folder)/devices/\(name)/driver"
    guard exists("devices/\(name)/driver") else { return nil }
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = try kernelCall("readlink", on: path) {
      unsafe path.withCString { unsafe abi_readlink($0, &buffer, 4096) }
    }
    let target = String(decoding: buffer.prefix(Int(count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return target.split(separator: "/").last.map(String.init)
  }

  /// Gives a device to a driver, and takes it from another one first.
  /// - Parameter driver: `virtio_vdpa` for this kernel's own use, `vhost_vdpa` for a process's, such as QEMU's.
  /// - Throws: `KernelError` for `open` and `write` of files of sysfs; `ENODEV` where the driver is not there or does not
  ///   want the device.
  public func bind(_ name: String, to driver: String) throws(KernelError) {
    if try self.driver(of: name) == driver { return }
    guard exists("drivers/\(driver)") else {
      throw KernelError(
        operation: "bind", errno: Errno(rawValue: ENODEV), subject: "\(name) to \(driver)",
        remedy: "modprobe \(driver)")
    }
    try write(driver, to: "devices/\(name)/driver_override")
    if let old = try self.driver(of: name) { try write(name, to: "drivers/\(old)/unbind") }
    try write(name, to: "drivers_probe")
    guard try self.driver(of: name) == driver else {
      throw KernelError(operation: "bind", errno: Errno(rawValue: ENODEV), subject: "\(name) to \(driver)")
    }
  }

  private func exists(_ path: String) -> Bool {
    unsafe "\(folder)/\(path)".withCString { unsafe abi_access($0) } >= 0
  }

  private func write(_ text: String, to path: String) throws(KernelError) {
    let path = "\(folder)/\(path)"
    let file = try OwnedDescriptor.open(path, for: .write)
    let (fd, bytes) = (file.rawValue, Array(text.utf8))
    try kernelCall("write", on: path) { unsafe abi_write(fd, bytes, UInt64(bytes.count)) }
  }

  // MARK: Netlink

  private func ask(
    _ operation: StaticString, _ command: Int32, _ attributes: [(Int32, String)], on subject: String
  ) throws(KernelError) {
    let socket = OwnedDescriptor(adopting: try kernelCall("socket", on: "AF_NETLINK") { abi_netlink_open() })
    let question = NetlinkMessage(
      family: UInt16(ABI_GENL_ID_CTRL), command: ABI_CTRL_CMD_GETFAMILY, version: 1, sequence: 1,
      [(ABI_CTRL_ATTR_FAMILY_NAME, "vdpa")])
    var family: UInt16?
    do throws(KernelError) {
      try ask("CTRL_CMD_GETFAMILY", question, over: socket, on: "vdpa") { message in
        family = message.number(ofAttribute: ABI_CTRL_ATTR_FAMILY_ID) ?? family
      }
    } catch {
      guard error.errno == .noSuchFileOrDirectory else { throw error }
      throw error.advising(
        "the kernel has no vdpa bus: modprobe vduse virtio_vdpa (CONFIG_VDPA, CONFIG_VDPA_USER)")
    }
    guard let family else {
      throw KernelError(operation: "CTRL_CMD_GETFAMILY", errno: .badMessage, subject: "vdpa")
    }
    let order = NetlinkMessage(
      family: family, command: command, version: UInt8(ABI_VDPA_GENL_VERSION), sequence: 2, attributes)
    do throws(KernelError) {
      try ask(operation, order, over: socket, on: subject)
    } catch {
      throw error.errno == .notPermitted ? error.advising("this needs CAP_NET_ADMIN: run as root") : error
    }
  }

  /// Sends a question, and takes what comes until it is acknowledged.
  private func ask(
    _ operation: StaticString, _ question: NetlinkMessage, over socket: borrowing OwnedDescriptor,
    on subject: String, _ body: (NetlinkMessage) -> Void = { _ in }
  ) throws(KernelError) {
    let (fd, bytes) = (socket.rawValue, question.bytes)
    try kernelCall(operation, on: subject) { unsafe abi_write(fd, bytes, UInt64(bytes.count)) }
    while true {
      var buffer = [UInt8](repeating: 0, count: 16384)
      let count = try kernelCall("read", on: "netlink") { unsafe abi_read(fd, &buffer, UInt64(buffer.count)) }
      for message in NetlinkMessage.messages(in: buffer.prefix(Int(count)))
      where message.sequence == question.sequence {
        guard let outcome = message.outcome else {
          body(message)
          continue
        }
        if outcome == 0 { return }
        throw KernelError(
          operation: operation.description, errno: Errno(rawValue: -outcome), subject: subject,
          remedy: message.refusal.map { "the kernel says: \($0)" })
      }
    }
  }
}
