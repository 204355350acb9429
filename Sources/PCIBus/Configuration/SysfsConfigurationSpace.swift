// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

/// Configuration space through the `config` file of sysfs; works whichever driver holds the function.
///
/// Owns the descriptor. A process without CAP_SYS_ADMIN sees 64 bytes.
/// Source: `pci_read_config()`, drivers/pci/pci-sysfs.c.
public final class SysfsConfigurationSpace: ConfigurationSpace {
  /// Bytes that this process can read: 64, 256 or 4096.
  public let byteCount: Int
  private let descriptor: OwnedDescriptor
  private let path: String

  /// Opens a function's configuration space.
  /// - Parameter access: `.read`, or `.readWrite` for writes, which need root.
  /// - Throws: `KernelError` for `open` or `pread`; for `find`, `ENODEV`, where there is no such function.
  public init(
    of address: PCIAddress, root: SystemRoot = .host, for access: FileAccess = .read
  ) throws(KernelError) {
    let path = root.path("\(PCIBus.folder(address))/config")
    do throws(KernelError) {
      descriptor = try OwnedDescriptor.open(path, for: access)
    } catch {
      switch error.errno {
      case .noSuchFileOrDirectory: throw PCIBus.absent(address)
      case .permissionDenied:
        throw error.advising("Run as root: configuration space is written by root only.")
      default: throw error
      }
    }
    self.path = path
    // The size that stat tells does not depend on the reader; what can be read does.
    var visible = 0
    for (probe, count) in [(256, 4096), (64, 256), (0, 64)] {
      if try Self.pread(descriptor, path, at: probe, count: 1).count == 1 {
        visible = count
        break
      }
    }
    byteCount = visible
  }

  /// Reads `width` bytes.
  /// - Throws: `KernelError` for `pread`: `EINVAL` outside of `byteCount`.
  public func read(at byteOffset: Int, width: ConfigurationWidth) throws(KernelError) -> UInt32 {
    try check("pread", byteOffset, width)
    let bytes = try Self.pread(descriptor, path, at: byteOffset, count: width.rawValue)
    guard bytes.count == width.rawValue else { throw outside("pread", byteOffset, width) }
    return bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }

  /// Writes the low `width` bytes of a value.
  /// - Throws: `KernelError` for `pwrite`: `EINVAL` outside of `byteCount`, `EBADF` where it was opened for
  ///   reading only.
  public func write(_ value: UInt32, at byteOffset: Int, width: ConfigurationWidth) throws(KernelError) {
    try check("pwrite", byteOffset, width)
    var little = value.littleEndian
    let fd = descriptor.rawValue
    let count = try kernelCall("pwrite", on: path) {
      unsafe abi_pwrite(fd, &little, UInt64(width.rawValue), UInt64(byteOffset))
    }
    guard Int(count) == width.rawValue else { throw outside("pwrite", byteOffset, width) }
  }

  private func check(_ operation: String, _ offset: Int, _ width: ConfigurationWidth) throws(KernelError) {
    guard offset >= 0, offset % width.rawValue == 0, offset <= byteCount - width.rawValue else {
      throw outside(operation, offset, width)
    }
  }

  private func outside(_ operation: String, _ offset: Int, _ width: ConfigurationWidth) -> KernelError {
    KernelError(
      operation: operation, errno: .invalidArgument,
      subject: "\(path), \(width.rawValue) bytes at offset \(offset) of \(byteCount)",
      remedy: byteCount == 64 ? "Run as root: the kernel shows others the first 64 bytes." : nil)
  }

  private static func pread(
    _ descriptor: borrowing OwnedDescriptor, _ path: String, at offset: Int, count: Int
  ) throws(KernelError) -> [UInt8] {
    let fd = descriptor.rawValue
    var bytes = [UInt8](repeating: 0, count: count)
    let got = try kernelCall("pread", on: path) {
      unsafe bytes.withUnsafeMutableBytes {
        unsafe abi_pread(fd, $0.baseAddress, UInt64(count), UInt64(offset))
      }
    }
    return Array(bytes[..<Int(got)])
  }
}
