// SPDX-License-Identifier: Apache-2.0

/// How a command ended: the status field of its completion, 15 bits.
/// - Source: NVM Express Base Specification 2.0, 3.3.3.2.1; NVM Command Set Specification 1.0, figure 14.
@frozen
public struct NVMeStatus: Hashable, Sendable {
  /// Code in 7:0, type in 10:8, retry delay in 12:11, more in 13, do not retry in 14.
  public let rawValue: UInt16

  /// Takes a status field.
  @inlinable
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// A status without its flags.
  @inlinable
  public init(type: CodeType, code: UInt8) { rawValue = UInt16(type.rawValue) << 8 | UInt16(code) }

  /// What a code belongs to (SCT).
  @frozen
  public struct CodeType: Hashable, Sendable {
    /// The three bits.
    public let rawValue: UInt8
    /// Names a type.
    @inlinable
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Codes that every command may have.
    @inlinable public static var generic: CodeType { CodeType(rawValue: 0) }
    /// Codes of one command.
    @inlinable public static var commandSpecific: CodeType { CodeType(rawValue: 1) }
    /// The medium's trouble, or the data's.
    @inlinable public static var media: CodeType { CodeType(rawValue: 2) }
    /// The way to the medium.
    @inlinable public static var path: CodeType { CodeType(rawValue: 3) }
    /// A vendor's own.
    @inlinable public static var vendor: CodeType { CodeType(rawValue: 7) }
  }

  /// Whether the command did what it was asked to.
  @inlinable public var isSuccess: Bool { rawValue & 0x7ff == 0 }
  /// SCT.
  @inlinable public var type: CodeType { CodeType(rawValue: UInt8(truncatingIfNeeded: rawValue >> 8) & 7) }
  /// SC.
  @inlinable public var code: UInt8 { UInt8(truncatingIfNeeded: rawValue) }
  /// Whether the same command would end the same way again (DNR).
  @inlinable public var isFinal: Bool { rawValue & 0x4000 != 0 }
  /// The same without its flags, to be compared with a name below.
  @inlinable public var reason: NVMeStatus { NVMeStatus(rawValue: rawValue & 0x7ff) }

  /// Done.
  public static var success: NVMeStatus { .init(type: .generic, code: 0x00) }
  /// No such command.
  public static var invalidOpcode: NVMeStatus { .init(type: .generic, code: 0x01) }
  /// A field of the command has a value that is not allowed.
  public static var invalidField: NVMeStatus { .init(type: .generic, code: 0x02) }
  /// A command with this id is on its way already.
  public static var idConflict: NVMeStatus { .init(type: .generic, code: 0x03) }
  /// Data or a list could not be read from memory, or written there.
  public static var dataTransferError: NVMeStatus { .init(type: .generic, code: 0x04) }
  /// The controller's own trouble.
  public static var internalError: NVMeStatus { .init(type: .generic, code: 0x06) }
  /// Given up because Abort asked for it.
  public static var abortRequested: NVMeStatus { .init(type: .generic, code: 0x07) }
  /// Given up because its queue was deleted.
  public static var abortedWithQueue: NVMeStatus { .init(type: .generic, code: 0x08) }
  /// No such namespace, or not an active one.
  public static var invalidNamespace: NVMeStatus { .init(type: .generic, code: 0x0b) }
  /// A PRP entry has an offset that is not allowed.
  public static var invalidPRPOffset: NVMeStatus { .init(type: .generic, code: 0x13) }
  /// Blocks beyond the namespace's end.
  public static var rangeBeyondNamespace: NVMeStatus { .init(type: .generic, code: 0x80) }
  /// The namespace is not ready.
  public static var namespaceNotReady: NVMeStatus { .init(type: .generic, code: 0x82) }
  /// No such completion queue.
  public static var invalidCompletionQueue: NVMeStatus { .init(type: .commandSpecific, code: 0x00) }
  /// No such queue, or it exists already.
  public static var invalidQueueID: NVMeStatus { .init(type: .commandSpecific, code: 0x01) }
  /// A queue of a length that is not allowed.
  public static var invalidQueueSize: NVMeStatus { .init(type: .commandSpecific, code: 0x02) }
  /// More asynchronous event requests than the controller keeps.
  public static var tooManyEventRequests: NVMeStatus { .init(type: .commandSpecific, code: 0x05) }
  /// No such interrupt vector.
  public static var invalidVector: NVMeStatus { .init(type: .commandSpecific, code: 0x08) }
  /// No such log page.
  public static var invalidLogPage: NVMeStatus { .init(type: .commandSpecific, code: 0x09) }
  /// No such format.
  public static var invalidFormat: NVMeStatus { .init(type: .commandSpecific, code: 0x0a) }
  /// The medium did not take the data.
  public static var writeFault: NVMeStatus { .init(type: .media, code: 0x80) }
  /// The medium lost the data.
  public static var unrecoveredReadError: NVMeStatus { .init(type: .media, code: 0x81) }
  /// Compare found a difference.
  public static var compareFailure: NVMeStatus { .init(type: .media, code: 0x85) }
}

extension NVMeStatus: CustomStringConvertible {
  private static let names: [NVMeStatus: String] = [
    .success: "success", .invalidOpcode: "invalid opcode", .invalidField: "invalid field in command",
    .idConflict: "command id conflict", .dataTransferError: "data transfer error",
    .internalError: "internal error", .abortRequested: "abort requested",
    .abortedWithQueue: "aborted due to deletion of its queue",
    .invalidNamespace: "invalid namespace or format",
    .invalidPRPOffset: "invalid PRP offset", .rangeBeyondNamespace: "LBA out of range",
    .namespaceNotReady: "namespace not ready", .invalidCompletionQueue: "completion queue invalid",
    .invalidQueueID: "invalid queue identifier", .invalidQueueSize: "invalid queue size",
    .tooManyEventRequests: "asynchronous event request limit exceeded",
    .invalidVector: "invalid interrupt vector", .invalidLogPage: "invalid log page",
    .invalidFormat: "invalid format", .writeFault: "write fault",
    .unrecoveredReadError: "unrecovered read error",
    .compareFailure: "compare failure",
  ]

  /// Its name with type and code.
  public var description: String {
    let numbers = "type \(type.rawValue), code 0x\(String(code, radix: 16))"
    return (Self.names[reason].map { "\($0) (\(numbers))" } ?? numbers) + (isFinal ? ", do not retry" : "")
  }
}
