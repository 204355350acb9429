// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

/// The state of an open device as a stream of bytes, which another owner continues from.
///
/// Few devices have it, none of them plain hardware: those with a kernel driver of their own (mlx5, hisi_acc, qat),
/// and mediated ones. Holds the device open.
/// - Source: `VFIO_DEVICE_FEATURE_MIGRATION` and its neighbours, include/uapi/linux/vfio.h, Linux 5.18.
public struct VFIOMigration: Sendable {
  let handle: VFIODeviceHandle
  let subject: String

  init(of handle: VFIODeviceHandle, subject: String) {
    self.handle = handle
    self.subject = subject
  }

  /// Takes over an open device of any bus, for its migration.
  /// - Parameters:
  ///   - group: The group that it was opened through.
  ///   - subject: What errors name.
  public init(adopting descriptor: consuming OwnedDescriptor, in group: VFIOGroup, subject: String) {
    self.init(of: VFIODeviceHandle(descriptor, parent: group), subject: subject)
  }

  /// The ways of migration; nil where the device has none.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`, other than its ways to say no.
  public func methods() throws(KernelError) -> VFIOMigrationMethods? {
    guard try handle.probe(.migration, subject: subject).contains(.get) else { return nil }
    var answer = abi_vfio_device_feature_migration()
    try handle.get(.migration, &answer, subject: subject)
    return VFIOMigrationMethods(rawValue: answer.flags)
  }

  /// Where the device is now.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`: `ENOTTY` where it does not migrate.
  public func state() throws(KernelError) -> VFIOMigrationState {
    var answer = abi_vfio_device_feature_mig_state()
    try handle.get(.migrationState, &answer, subject: subject)
    return VFIOMigrationState(rawValue: answer.device_state)
  }

  /// Brings the device to a state.
  /// - Returns: The stream that belongs to the state, where it has one: for reading in
  ///   ``VFIOMigrationState/stopCopy`` and ``VFIOMigrationState/preCopy``, for writing in
  ///   ``VFIOMigrationState/resuming``. Leaving the state ends it.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`: `ENOTTY` where the device does not migrate, `EINVAL`
  ///   where there is no way from the state it is in. Ask ``state()`` then: it may be an intermediate one.
  public func setState(_ state: VFIOMigrationState) throws(KernelError) -> VFIOMigrationStream? {
    var command = abi_vfio_device_feature_mig_state(device_state: state.rawValue, data_fd: -1)
    try handle.set(.migrationState, &command, subject: subject)
    guard command.data_fd >= 0 else { return nil }
    return VFIOMigrationStream(adopting: OwnedDescriptor(adopting: command.data_fd), subject: subject)
  }

  /// How many bytes the state would be if the device were stopped now; an estimate.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`: `ENOTTY` where it does not migrate, or before Linux 6.2.
  public func dataByteCount() throws(KernelError) -> UInt64 {
    var answer = abi_vfio_device_feature_mig_data_size()
    try handle.get(.migrationDataSize, &answer, subject: subject)
    return answer.stop_copy_length
  }

  /// Lets ``VFIOMigrationStream/precopyInfo()`` tell when the beginning starts anew, from now on.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`: `EINVAL` where the device has no pre-copy.
  public func useRestartingPrecopyInfo() throws(KernelError) {
    try handle.set(.migrationPrecopyInfoV2, subject: subject)
  }
}

extension VFIODevice {
  /// The device's migration; it may have none.
  public var migration: VFIOMigration { VFIOMigration(of: handle, subject: "\(address)") }
}

/// The bytes of a device's state on their way out of it or into it.
public struct VFIOMigrationStream: ~Copyable, Sendable {
  private let descriptor: OwnedDescriptor
  private let subject: String

  /// Takes over a stream that the kernel opened.
  public init(adopting descriptor: consuming OwnedDescriptor, subject: String) {
    self.descriptor = descriptor
    self.subject = subject
  }

  /// Reads the next bytes.
  /// - Returns: How many; 0 at the end, which in pre-copy is the end only for now.
  /// - Throws: `KernelError` for `read`; `ENODEV` where the device left the state.
  public borrowing func read(into span: inout MutableRawSpan) throws(KernelError) -> Int {
    let fd = descriptor.rawValue
    return Int(
      try kernelCall("read", on: "migration of \(subject)") {
        let result = unsafe span.withUnsafeMutableBytes {
          unsafe abi_read(fd, $0.baseAddress, UInt64($0.count))
        }
        // ENOMSG: nothing more for now, in pre-copy.
        return result == -Int64(Errno.noMessage.rawValue) ? 0 : result
      })
  }

  /// Writes the next bytes.
  /// - Returns: How many were taken.
  /// - Throws: `KernelError` for `write`.
  public borrowing func write(_ span: RawSpan) throws(KernelError) -> Int {
    let fd = descriptor.rawValue
    return Int(
      try kernelCall("write", on: "migration of \(subject)") {
        unsafe span.withUnsafeBytes { unsafe abi_write(fd, $0.baseAddress, UInt64($0.count)) }
      })
  }

  /// What is left to be read of a device that still works.
  /// - Throws: `KernelError` for `VFIO_MIG_GET_PRECOPY_INFO`: `EINVAL` outside of pre-copy, `ENOTTY` where the
  ///   device has none.
  public borrowing func precopyInfo() throws(KernelError) -> VFIOPrecopyInfo {
    let fd = descriptor.rawValue
    var info = abi_vfio_precopy_info()
    try kernelCall("VFIO_MIG_GET_PRECOPY_INFO", on: subject) {
      unsafe abi_vfio_mig_get_precopy_info(fd, &info)
    }
    return VFIOPrecopyInfo(info)
  }

  /// Closes the stream; the device stays in its state.
  public consuming func close() throws(KernelError) { try descriptor.close() }
}
