// SPDX-License-Identifier: Apache-2.0
public import DMACore

/// A range of addresses, and the file that has their bytes: what a device's process maps.
/// - Source: `struct vduse_iotlb_entry`, include/uapi/linux/vduse.h, Linux 5.15.
public struct IOTLBEntry: Sendable {
  /// The device's addresses.
  public let range: IOVARange
  /// What the device may do.
  public let access: DMAAccess
  /// Where the bytes are.
  public let file: IOTLBFile
  /// The place of the range's first byte in the file, in bytes.
  public let fileOffset: UInt64

  /// Describes a range; for ``IOTLBDomain/setMap(_:)`` of whole pages.
  public init(range: IOVARange, access: DMAAccess, file: IOTLBFile, fileOffset: UInt64) {
    self.range = range
    self.access = access
    self.file = file
    self.fileOffset = fileOffset
  }
}

extension IOTLBEntry: Hashable {
  /// Whether both lead to the same bytes of the same open file, in the same way.
  public static func == (left: IOTLBEntry, right: IOTLBEntry) -> Bool {
    left.range == right.range && left.access == right.access && left.file === right.file
      && left.fileOffset == right.fileOffset
  }

  /// Feeds what equality looks at.
  public func hash(into hasher: inout Hasher) {
    hasher.combine(range)
    hasher.combine(access)
    hasher.combine(ObjectIdentifier(file))
    hasher.combine(fileOffset)
  }
}

extension IOTLBEntry: CustomStringConvertible {
  /// One line: `0x1000...0x1fff: read, write, file offset 0x1000`.
  public var description: String {
    "\(range): \(access), file offset 0x\(String(fileOffset, radix: 16))"
  }
}
