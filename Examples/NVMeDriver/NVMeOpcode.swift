// SPDX-License-Identifier: Apache-2.0

/// What a command does: the set that it belongs to, and its number there.
/// - Source: NVM Express Base Specification 2.0, figures 138 and 390; NVM Command Set Specification 1.0, figure 12.
@frozen
public struct NVMeOpcode: Hashable, Sendable {
  /// The number in the lowest byte of a command.
  public let rawValue: UInt8
  /// Whether it goes to the admin queue.
  public let isAdmin: Bool

  /// Names an opcode, of a vendor's own for example.
  @inlinable
  public init(rawValue: UInt8, isAdmin: Bool) {
    self.rawValue = rawValue
    self.isAdmin = isAdmin
  }

  @inlinable static func io(_ rawValue: UInt8) -> NVMeOpcode {
    NVMeOpcode(rawValue: rawValue, isAdmin: false)
  }
  @inlinable static func admin(_ rawValue: UInt8) -> NVMeOpcode {
    NVMeOpcode(rawValue: rawValue, isAdmin: true)
  }

  /// Makes writes durable.
  @inlinable public static var flush: NVMeOpcode { .io(0x00) }
  /// Writes blocks.
  @inlinable public static var write: NVMeOpcode { .io(0x01) }
  /// Reads blocks.
  @inlinable public static var read: NVMeOpcode { .io(0x02) }
  /// Compares blocks with memory.
  @inlinable public static var compare: NVMeOpcode { .io(0x05) }
  /// Sets blocks to zero without a transfer.
  @inlinable public static var writeZeroes: NVMeOpcode { .io(0x08) }
  /// Says what blocks are for; deallocates them.
  @inlinable public static var datasetManagement: NVMeOpcode { .io(0x09) }

  /// Deletes a submission queue; its commands are over then.
  @inlinable public static var deleteSubmissionQueue: NVMeOpcode { .admin(0x00) }
  /// Creates a submission queue.
  @inlinable public static var createSubmissionQueue: NVMeOpcode { .admin(0x01) }
  /// Reads a log page.
  @inlinable public static var getLogPage: NVMeOpcode { .admin(0x02) }
  /// Deletes a completion queue.
  @inlinable public static var deleteCompletionQueue: NVMeOpcode { .admin(0x04) }
  /// Creates a completion queue.
  @inlinable public static var createCompletionQueue: NVMeOpcode { .admin(0x05) }
  /// Asks what the controller or a namespace is.
  @inlinable public static var identify: NVMeOpcode { .admin(0x06) }
  /// Asks to give up a command.
  @inlinable public static var abort: NVMeOpcode { .admin(0x08) }
  /// Sets a feature.
  @inlinable public static var setFeatures: NVMeOpcode { .admin(0x09) }
  /// Reads a feature.
  @inlinable public static var getFeatures: NVMeOpcode { .admin(0x0a) }
  /// Completes when something happens.
  @inlinable public static var asyncEventRequest: NVMeOpcode { .admin(0x0c) }
  /// Gives the controller pages for doorbells.
  @inlinable public static var doorbellBufferConfig: NVMeOpcode { .admin(0x7c) }
  /// Formats namespaces: their data are gone.
  @inlinable public static var formatNVM: NVMeOpcode { .admin(0x80) }

  /// Whether doing it twice is as good as once, so that it may be issued again where it is not known whether it was
  /// done: after a reset of the controller.
  ///
  /// Nobody else must have written the same blocks in between; that is for whoever issues it to know.
  public var mayBeReissued: Bool {
    isAdmin
      ? [.identify, .getLogPage, .getFeatures, .setFeatures].contains(self)
      : [.flush, .write, .read, .compare, .writeZeroes, .datasetManagement].contains(self)
  }
}

extension NVMeOpcode: CustomStringConvertible {
  private static let names: [NVMeOpcode: String] = [
    .flush: "Flush", .write: "Write", .read: "Read", .compare: "Compare", .writeZeroes: "Write Zeroes",
    .datasetManagement: "Dataset Management", .deleteSubmissionQueue: "Delete I/O Submission Queue",
    .createSubmissionQueue: "Create I/O Submission Queue", .getLogPage: "Get Log Page",
    .deleteCompletionQueue: "Delete I/O Completion Queue",
    .createCompletionQueue: "Create I/O Completion Queue",
    .identify: "Identify", .abort: "Abort", .setFeatures: "Set Features", .getFeatures: "Get Features",
    .asyncEventRequest: "Asynchronous Event Request", .doorbellBufferConfig: "Doorbell Buffer Config",
    .formatNVM: "Format NVM",
  ]

  /// The specification's name of the command.
  public var description: String {
    Self.names[self] ?? "\(isAdmin ? "admin" : "I/O") command 0x\(String(rawValue, radix: 16))"
  }
}
