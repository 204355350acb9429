// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

/// Where a device is on its way from one owner to another.
///
/// The kernel allows only some steps from each state; several may be taken by one call where their way is clear.
/// - Source: `enum vfio_device_mig_state`, include/uapi/linux/vfio.h, Linux 5.18.
public struct VFIOMigrationState: RawRepresentable, Hashable, Sendable {
  /// The kernel's number.
  public let rawValue: UInt32
  /// Takes a number as it is.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The device failed on its way; only a reset helps.
  public static let error = Self(rawValue: ABI_VFIO_DEVICE_STATE_ERROR)
  /// It does nothing, and its state does not change.
  public static let stopped = Self(rawValue: ABI_VFIO_DEVICE_STATE_STOP)
  /// It works.
  public static let running = Self(rawValue: ABI_VFIO_DEVICE_STATE_RUNNING)
  /// It does nothing, and its state is read from the stream.
  public static let stopCopy = Self(rawValue: ABI_VFIO_DEVICE_STATE_STOP_COPY)
  /// It does nothing, and its state is written to the stream.
  public static let resuming = Self(rawValue: ABI_VFIO_DEVICE_STATE_RESUMING)
  /// It works, but starts no transfer to another device.
  public static let runningWithoutPeers = Self(rawValue: ABI_VFIO_DEVICE_STATE_RUNNING_P2P)
  /// It works, while its state is read from the stream for the first time.
  public static let preCopy = Self(rawValue: ABI_VFIO_DEVICE_STATE_PRE_COPY)
  /// The same, but it starts no transfer to another device.
  public static let preCopyWithoutPeers = Self(rawValue: ABI_VFIO_DEVICE_STATE_PRE_COPY_P2P)
}

/// The ways of migration that a device has.
/// - Source: `struct vfio_device_feature_migration`, include/uapi/linux/vfio.h, Linux 5.18.
public struct VFIOMigrationMethods: OptionSet, Hashable, Sendable {
  /// The kernel's bits.
  public let rawValue: UInt64
  /// Takes the kernel's bits as they are.
  public init(rawValue: UInt64) { self.rawValue = rawValue }
  /// Its state can be read and written while it is stopped; every device that migrates has this.
  public static let stopCopy = Self(rawValue: UInt64(ABI_VFIO_MIGRATION_STOP_COPY))
  /// It can stop its transfers to other devices first.
  public static let withoutPeers = Self(rawValue: UInt64(ABI_VFIO_MIGRATION_P2P))
  /// Its state can be read while it still works.
  public static let preCopy = Self(rawValue: UInt64(ABI_VFIO_MIGRATION_PRE_COPY))
}

/// What is left to be read while a device that works is copied.
/// - Source: `struct vfio_precopy_info`, include/uapi/linux/vfio.h, Linux 6.2.
public struct VFIOPrecopyInfo: Hashable, Sendable {
  /// Bytes of the beginning, which the other side needs before all else.
  public let initialByteCount: UInt64
  /// Bytes that the device has changed since.
  public let dirtyByteCount: UInt64
  /// Whether the beginning starts anew, which is told only after ``VFIOMigration/useRestartingPrecopyInfo()``.
  public let isRestarted: Bool

  init(_ info: abi_vfio_precopy_info) {
    initialByteCount = info.initial_bytes
    dirtyByteCount = info.dirty_bytes
    isRestarted = info.flags & ABI_VFIO_PRECOPY_INFO_REINIT != 0
  }

  /// Reads an answer of `VFIO_MIG_GET_PRECOPY_INFO` that is here already; nil for too few bytes.
  public init?(decoding bytes: [UInt8]) {
    guard let info = InfoBuffer(bytes).load(abi_vfio_precopy_info.self, at: 0) else { return nil }
    self.init(info)
  }
}
