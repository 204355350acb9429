// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

/// One of the optional abilities that VFIO reaches by a single call with a number.
///
/// New ones may be added.
/// - Source: `VFIO_DEVICE_FEATURE`, include/uapi/linux/vfio.h, Linux 5.7.
public struct VFIODeviceFeature: RawRepresentable, Hashable, Sendable {
  /// The kernel's number, 16 bits.
  public let rawValue: UInt16
  /// Takes a number as it is.
  public init(rawValue: UInt16) { self.rawValue = rawValue }
  private init(_ number: UInt32) { rawValue = UInt16(number) }

  /// The secret that who opens a virtual function must know; set on the physical one (Linux 5.7).
  public static let vfToken = Self(ABI_VFIO_DEVICE_FEATURE_PCI_VF_TOKEN)
  /// Which ways of migration there are (Linux 5.18).
  public static let migration = Self(ABI_VFIO_DEVICE_FEATURE_MIGRATION)
  /// The state of a migration (Linux 5.18).
  public static let migrationState = Self(ABI_VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE)
  /// Lets the device fall into low power (Linux 6.1).
  public static let lowPowerEntry = Self(ABI_VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY)
  /// The same, with a signal when it wakes (Linux 6.1).
  public static let lowPowerEntryWithWakeup = Self(ABI_VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP)
  /// Wakes the device (Linux 6.1).
  public static let lowPowerExit = Self(ABI_VFIO_DEVICE_FEATURE_LOW_POWER_EXIT)
  /// Starts a log of the pages that the device writes (Linux 6.1).
  public static let dmaLoggingStart = Self(ABI_VFIO_DEVICE_FEATURE_DMA_LOGGING_START)
  /// Ends the log (Linux 6.1).
  public static let dmaLoggingStop = Self(ABI_VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP)
  /// Reads the log (Linux 6.1).
  public static let dmaLoggingReport = Self(ABI_VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT)
  /// How many bytes a migration will take (Linux 6.2).
  public static let migrationDataSize = Self(ABI_VFIO_DEVICE_FEATURE_MIG_DATA_SIZE)
  /// Bus mastering of devices on the CDX bus; a PCI function has it in configuration space (Linux 6.7).
  public static let busMaster = Self(ABI_VFIO_DEVICE_FEATURE_BUS_MASTER)
  /// A region of the device as a dma-buf (Linux 6.19).
  public static let dmaBuf = Self(ABI_VFIO_DEVICE_FEATURE_DMA_BUF)
  /// Numbers of a migration's first phase that start anew on request (Linux 7.1).
  public static let migrationPrecopyInfoV2 = Self(ABI_VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2)
  /// Errors of PCI functions on s390.
  public static let zpciError = Self(ABI_VFIO_DEVICE_FEATURE_ZPCI_ERROR)

  /// All that this version knows, by number: 0 to 13.
  public static let known: [VFIODeviceFeature] = (0...ABI_VFIO_DEVICE_FEATURE_ZPCI_ERROR).map(Self.init)
}

extension VFIODeviceFeature: CustomStringConvertible {
  private static let names: [VFIODeviceFeature: String] = [
    .vfToken: "VF token", .migration: "migration", .migrationState: "migration state",
    .lowPowerEntry: "low-power entry", .lowPowerEntryWithWakeup: "low-power entry with wakeup",
    .lowPowerExit: "low-power exit", .dmaLoggingStart: "DMA logging start",
    .dmaLoggingStop: "DMA logging stop", .dmaLoggingReport: "DMA logging report",
    .migrationDataSize: "migration data size", .busMaster: "bus master of CDX", .dmaBuf: "dma-buf",
    .migrationPrecopyInfoV2: "migration precopy info v2", .zpciError: "zPCI error",
  ]

  /// A name for messages: `migration state`, or `feature 99`.
  public var description: String { Self.names[self] ?? "feature \(rawValue)" }
}

/// What may be done with a feature.
public struct VFIODeviceFeatureMethods: OptionSet, Hashable, Sendable {
  /// The kernel's bits.
  public let rawValue: UInt32
  /// Takes the kernel's bits as they are.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// It can be read.
  public static let get = VFIODeviceFeatureMethods(rawValue: ABI_VFIO_DEVICE_FEATURE_GET)
  /// It can be written, or done.
  public static let set = VFIODeviceFeatureMethods(rawValue: ABI_VFIO_DEVICE_FEATURE_SET)
}
