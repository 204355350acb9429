// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

/// One open `/dev/vduse/NAME`: the end of a device that is served.
///
/// One process has it open at a time. When it is closed, or the process dies, the device stays with the state of its
/// queues, requests wait, and whoever opens it next goes on.
/// - Source: Documentation/userspace-api/vduse.rst, Linux 5.15.
public struct VDUSEDevice: ~Copyable, Sendable {
  let descriptor: OwnedDescriptor
  /// Its name.
  public let name: String
  /// What it speaks: that of the control that made it.
  public let apiVersion: VDUSEAPIVersion

  /// Takes over an open node, which must not block (`O_NONBLOCK`).
  public init(adopting descriptor: consuming OwnedDescriptor, name: String, apiVersion: VDUSEAPIVersion) {
    self.descriptor = descriptor
    self.name = name
    self.apiVersion = apiVersion
  }

  /// Opens the node of a device.
  /// - Throws: `KernelError` for `open`: `ENOENT` where there is none, `EBUSY` while another process has it open,
  ///   `EACCES`.
  public init(
    opening name: String, apiVersion: VDUSEAPIVersion, folder: String = "/dev/vduse"
  ) throws(KernelError) {
    let path = "\(folder)/\(name)"
    do throws(KernelError) {
      descriptor = OwnedDescriptor(
        adopting: try kernelCall("open", on: path) {
          unsafe path.withCString { unsafe abi_open($0, O_RDWR | O_NONBLOCK) }
        })
    } catch {
      switch error.errno {
      case .resourceBusy: throw error.advising("another process serves this device")
      case .noSuchFileOrDirectory: throw error.advising("there is no VDUSE device of this name")
      default: throw error
      }
    }
    self.name = name
    self.apiVersion = apiVersion
  }

  /// A call of the device, all of which the kernel refuses with `EPERM` once it has given the device up, and none otherwise.
  @discardableResult
  borrowing func deviceCall(
    _ operation: StaticString, on subject: @autoclosure () -> String, _ body: () -> CInt
  ) throws(KernelError) -> CInt {
    do throws(KernelError) {
      return try kernelCall(operation, on: subject(), body)
    } catch {
      guard error.errno == .notPermitted else { throw error }
      throw error.advising(
        "a message was not answered in time (/sys/class/vduse/\(name)/msg_timeout, 30 s), and the kernel has given the "
          + "device up for good: vfioctl serve remove \(name)")
    }
  }

  /// Closes the node; the device stays.
  public consuming func close() throws(KernelError) { try descriptor.close() }

  // MARK: Messages

  /// Takes the next message, without waiting.
  /// - Returns: Nil where there is none.
  /// - Throws: `KernelError` for `read`.
  public borrowing func readRequest() throws(KernelError) -> VDUSERequest? {
    let fd = descriptor.rawValue
    var bytes = [UInt8](repeating: 0, count: VDUSERequest.byteCount)
    let count = try kernelCall("read", on: name) {
      let result = unsafe abi_read(fd, &bytes, UInt64(bytes.count))
      return result == -Int64(Errno.wouldBlock.rawValue) ? 0 : result
    }
    if count == 0 { return nil }
    guard let request = VDUSERequest(bytes.prefix(Int(count)), apiVersion) else {
      throw KernelError(operation: "read", errno: .badMessage, subject: "\(name), \(count) bytes")
    }
    return request
  }

  /// Answers a message.
  /// - Throws: `KernelError` for `write`: `ENOENT` where nobody waits for the answer any more.
  public borrowing func respond(_ response: VDUSEResponse) throws(KernelError) {
    let fd = descriptor.rawValue
    let bytes = response.bytes
    try kernelCall("write", on: name) { unsafe abi_write(fd, bytes, UInt64(bytes.count)) }
  }

  // MARK: Configuration

  /// What the driver chose of the features; all zero before it did.
  /// - Throws: `KernelError` for `VDUSE_DEV_GET_FEATURES`: `EPERM` for a device that is broken.
  public var driverFeatures: UInt64 {
    get throws(KernelError) {
      let fd = descriptor.rawValue
      var features: UInt64 = 0
      try deviceCall("VDUSE_DEV_GET_FEATURES", on: name) {
        unsafe abi_vduse_dev_get_features(fd, &features)
      }
      return features
    }
  }

  /// Whether the kernel has given it up, after a message that was not answered in time: all that is left is to take it away.
  public var isGivenUp: Bool {
    do throws(KernelError) {
      _ = try driverFeatures
      return false
    } catch {
      return error.errno == .notPermitted
    }
  }

  /// Writes a part of the configuration space, of which the driver is told by ``interruptConfiguration()`` alone.
  /// - Throws: `KernelError` for `VDUSE_DEV_SET_CONFIG`: `EINVAL` outside the space, or without a byte.
  public borrowing func setConfiguration(_ bytes: [UInt8], at offset: Int) throws(KernelError) {
    var header = abi_vduse_config_data()
    header.offset = UInt32(clamping: offset)
    header.length = UInt32(clamping: bytes.count)
    let data = unsafe withUnsafeBytes(of: header) { unsafe Array($0) } + bytes
    let fd = descriptor.rawValue
    try deviceCall("VDUSE_DEV_SET_CONFIG", on: "\(bytes.count) bytes at \(offset) of \(name)") {
      unsafe abi_vduse_dev_set_config(fd, data)
    }
  }

  /// Tells the driver that the configuration space has changed.
  /// - Throws: `KernelError` for `VDUSE_DEV_INJECT_CONFIG_IRQ`: `EINVAL` before the driver is ready.
  public borrowing func interruptConfiguration() throws(KernelError) {
    let fd = descriptor.rawValue
    try deviceCall("VDUSE_DEV_INJECT_CONFIG_IRQ", on: name) { abi_vduse_dev_inject_config_irq(fd) }
  }
}
