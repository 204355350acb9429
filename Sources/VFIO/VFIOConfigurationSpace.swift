// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import LinuxHandles
internal import PCIBus
internal import SystemPackage

/// Configuration space as VFIO shows it: some registers are the device's, some are virtual.
final class VFIOConfigurationSpace: ConfigurationSpace {
  private let handle: VFIODeviceHandle
  private let region: VFIORegionInfo
  private let subject: String

  init(of handle: VFIODeviceHandle, region: VFIORegionInfo, subject: String) {
    self.handle = handle
    self.region = region
    self.subject = "configuration space of \(subject)"
  }

  var byteCount: Int { Int(region.byteCount) }

  func read(at byteOffset: Int, width: ConfigurationWidth) throws(KernelError) -> UInt32 {
    var value: UInt32 = 0
    let place = try place(of: byteOffset, width)
    let count = try handle.call("pread", on: "\(subject) at \(byteOffset)") { fd in
      unsafe abi_pread(fd, &value, UInt64(width.rawValue), place)
    }
    try checkLength(count, "pread", byteOffset, width)
    return value
  }

  func write(_ value: UInt32, at byteOffset: Int, width: ConfigurationWidth) throws(KernelError) {
    var value = value
    let place = try place(of: byteOffset, width)
    let count = try handle.call("pwrite", on: "\(subject) at \(byteOffset)") { fd in
      unsafe abi_pwrite(fd, &value, UInt64(width.rawValue), place)
    }
    try checkLength(count, "pwrite", byteOffset, width)
  }

  private func place(of byteOffset: Int, _ width: ConfigurationWidth) throws(KernelError) -> UInt64 {
    guard byteOffset >= 0, byteOffset <= byteCount - width.rawValue, byteOffset % width.rawValue == 0 else {
      throw KernelError(
        operation: "access configuration space", errno: .invalidArgument,
        subject: "\(subject) at \(byteOffset)",
        remedy: "it has \(byteCount) bytes, accessed at multiples of the width")
    }
    return region.fileOffset + UInt64(byteOffset)
  }

  private func checkLength(
    _ count: Int64, _ operation: String, _ byteOffset: Int, _ width: ConfigurationWidth
  ) throws(KernelError) {
    guard count == Int64(width.rawValue) else {
      throw KernelError(
        operation: operation, errno: .ioError, subject: "\(subject) at \(byteOffset)",
        remedy: "the kernel moved \(count) of \(width.rawValue) bytes")
    }
  }
}
