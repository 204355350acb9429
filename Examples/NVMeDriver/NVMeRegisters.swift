// SPDX-License-Identifier: Apache-2.0
internal import DeviceRegisters

/// The registers in BAR0 of an NVMe controller, each declared once.
/// - Source: NVM Express Base Specification 2.0, 3.1.3 "Controller Properties"; the PCIe transport, 3.1.2.
enum NVMeRegisters {
  /// CAP: see ``NVMeCapabilities``.
  static let capabilities = Register64(byteOffset: 0x00, access: .readOnly)
  /// VS: major 31:16, minor 15:8, tertiary 7:0.
  static let version = Register32(byteOffset: 0x08, access: .readOnly)
  /// CC: the bits of ``Configuration``.
  static let configuration = Register32(byteOffset: 0x14, access: .readWrite)
  /// CSTS: the bits of ``Status``.
  static let status = Register32(byteOffset: 0x1c, access: .readOnly)
  /// AQA: entries of the admin queues less one, completions in 27:16, submissions in 11:0.
  static let adminQueueAttributes = Register32(byteOffset: 0x24, access: .readWrite)
  /// ASQ: the address of the admin submission queue; page aligned.
  static let adminSubmissionQueue = Register64(byteOffset: 0x28, access: .readWrite)
  /// ACQ: the address of the admin completion queue; page aligned.
  static let adminCompletionQueue = Register64(byteOffset: 0x30, access: .readWrite)
  /// CMBLOC: BAR in 2:0, offset in units of CMBSZ in 31:12.
  static let memoryBufferLocation = Register32(byteOffset: 0x38, access: .readOnly)
  /// CMBSZ: submission queues allowed in bit 0, unit in 11:8 as a power of 16 times 4 KiB, size in 31:12.
  static let memoryBufferSize = Register32(byteOffset: 0x3c, access: .readOnly)
  /// CMBMSC: capabilities shown in bit 0, addresses decoded in bit 1, base address in 63:12.
  static let memoryBufferControl = Register64(byteOffset: 0x50, access: .readWrite)
  /// CMBSTS: the base address is not acceptable in bit 0.
  static let memoryBufferStatus = Register32(byteOffset: 0x58, access: .readOnly)

  /// The bits of ``configuration``.
  enum Configuration {
    static let enable: UInt32 = 1
    /// Submission entries of 2^6 bytes, completion entries of 2^4, memory pages of 2^12, the NVM command set.
    static let entrySizes: UInt32 = 6 << 16 | 4 << 20
    static let shutdownMask: UInt32 = 3 << 14
    static let normalShutdown: UInt32 = 1 << 14
  }

  /// The bits of ``status``.
  enum Status {
    static let ready: UInt32 = 1
    /// CFS: only a reset helps.
    static let fatal: UInt32 = 2
    static let shutdownMask: UInt32 = 3 << 2
    static let shutdownComplete: UInt32 = 2 << 2
  }

  /// Where the doorbell of a submission queue lies; that of the completion queue is one stride further on.
  /// - Parameter stride: Of CAP.DSTRD, in bytes.
  static func doorbell(ofQueue id: Int, stride: Int) -> Int { 0x1000 + 2 * id * stride }
}

/// What a controller says about itself before it is enabled: CAP and VS.
public struct NVMeCapabilities: Hashable, Sendable {
  /// The register CAP.
  public let rawValue: UInt64
  /// The version of the specification that it follows: `0x0001_0400` for 1.4.
  public let version: UInt32

  /// The largest number of entries of a queue (MQES), at least 2 on a controller that works.
  public var maximumEntryCount: Int { Int(rawValue & 0xffff) + 1 }
  /// The largest power of two of entries.
  var greatestEntryCount: Int { 1 << (Int.bitWidth - 1 - maximumEntryCount.leadingZeroBitCount) }
  /// How long it may take to become ready or not ready (TO), in units of 500 ms.
  public var readyTimeout: Duration { .milliseconds(500) * max(1, Int(rawValue >> 24 & 0xff)) }
  /// The distance of two doorbells in bytes (DSTRD).
  public var doorbellStride: Int { 4 << Int(rawValue >> 32 & 0xf) }
  /// Whether it knows the NVM command set (CSS bit 0).
  public var hasNVMCommands: Bool { rawValue >> 37 & 1 != 0 }
  /// The smallest memory page that it knows, in bytes (MPSMIN).
  public var minimumPageByteCount: Int { 4096 << Int(rawValue >> 48 & 0xf) }
  /// Whether it has a memory buffer of its own (CMBS).
  public var hasMemoryBuffer: Bool { rawValue >> 57 & 1 != 0 }
}

extension NVMeCapabilities: CustomStringConvertible {
  /// One line: the version and the figures.
  public var description: String {
    "NVMe \(version >> 16).\(version >> 8 & 0xff), queues of up to \(maximumEntryCount), ready in "
      + "\(readyTimeout)" + (hasMemoryBuffer ? ", a memory buffer" : "")
  }
}
