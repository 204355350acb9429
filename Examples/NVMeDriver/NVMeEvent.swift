// SPDX-License-Identifier: Apache-2.0

/// Something that the controller told of by itself.
///
/// It tells no more of the same kind until the log page was read.
/// - Source: NVM Express Base Specification 2.0, 5.2, figure 145.
public struct NVMeEvent: Hashable, Sendable {
  /// Type in 2:0, information in 15:8, log page in 23:16.
  public let rawValue: UInt32

  /// What kind of event.
  public enum Kind: Hashable, Sendable {
    /// An error that belongs to no command, such as a doorbell that is written wrongly.
    case error
    /// The health, such as the temperature.
    case health
    /// Something to know, such as a namespace that changed.
    case notice
    /// Of a command set, or of a vendor.
    case other(UInt8)
  }

  /// What kind of event.
  public var kind: Kind {
    switch rawValue & 7 {
    case 0: .error
    case 1: .health
    case 2: .notice
    default: .other(UInt8(rawValue & 7))
    }
  }

  /// Which one of its kind.
  public var information: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 8) }
  /// The log page to read, which lets the next event come.
  public var logPage: NVMeLogPage { NVMeLogPage(rawValue: UInt8(truncatingIfNeeded: rawValue >> 16)) }
}

/// A list that the controller keeps.
/// - Source: NVM Express Base Specification 2.0, 5.16.1.
public struct NVMeLogPage: Hashable, Sendable {
  /// Its identifier.
  public let rawValue: UInt8
  /// Names a page.
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// What went wrong, the newest first; 64 bytes each.
  public static var errors: NVMeLogPage { NVMeLogPage(rawValue: 1) }
  /// SMART / health; 512 bytes.
  public static var health: NVMeLogPage { NVMeLogPage(rawValue: 2) }
  /// The firmware in its slots; 512 bytes.
  public static var firmware: NVMeLogPage { NVMeLogPage(rawValue: 3) }
  /// Namespaces that changed; 4096 bytes.
  public static var changedNamespaces: NVMeLogPage { NVMeLogPage(rawValue: 4) }
}

/// An entry of the log of errors.
public struct NVMeErrorRecord: Hashable, Sendable {
  /// Counts errors over the controller's whole life; 0 for an entry without one.
  public let number: UInt64
  /// The command's queue and id.
  public let queueID, commandID: UInt16
  /// How it ended.
  public let status: NVMeStatus
  /// The first block with an error.
  public let block: UInt64
  /// Its namespace.
  public let namespaceID: UInt32

  init(_ bytes: LittleEndianBytes) {
    number = bytes.word64(at: 0)
    queueID = bytes.word16(at: 8)
    commandID = bytes.word16(at: 10)
    status = NVMeStatus(rawValue: bytes.word16(at: 12) >> 1)
    block = bytes.word64(at: 16)
    namespaceID = bytes.word32(at: 24)
  }
}

/// How the controller and its medium are (SMART).
public struct NVMeHealth: Hashable, Sendable {
  /// What is critical, bit by bit; 0 for nothing.
  public let warnings: UInt8
  /// In kelvin.
  public let temperature: UInt16
  /// What is left of the spare blocks, in percent.
  public let sparePercent: UInt8
  /// What is used of the expected life, in percent; may pass 100.
  public let usedPercent: UInt8
  /// Units of 512000 bytes read and written, and commands; the low 64 bits.
  public let unitsRead, unitsWritten, readCount, writeCount: UInt64
  /// Errors of the medium that lost data.
  public let mediaErrorCount: UInt64
  /// Entries of the log of errors, over the whole life.
  public let errorCount: UInt64

  init(_ bytes: LittleEndianBytes) {
    warnings = bytes[0]
    temperature = bytes.word16(at: 1)
    sparePercent = bytes[3]
    usedPercent = bytes[5]
    unitsRead = bytes.word64(at: 32)
    unitsWritten = bytes.word64(at: 48)
    readCount = bytes.word64(at: 64)
    writeCount = bytes.word64(at: 80)
    mediaErrorCount = bytes.word64(at: 160)
    errorCount = bytes.word64(at: 176)
  }
}
