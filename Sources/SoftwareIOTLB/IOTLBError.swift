// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import SystemPackage

/// A mapping of a software IOTLB could not be made, used or ended; nothing has changed.
public struct IOTLBError: Error, Hashable, Sendable {
  /// Why.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    /// The reason, as the start of a sentence.
    public let description: String

    /// No mapping begins there, or it was ended already; for a device: not all of the bytes are mapped.
    public static let notMapped = Code(description: "not mapped")
    /// A part of the addresses asked for is mapped.
    public static let alreadyMapped = Code(description: "mapped already")
    /// A mapping begins there and has another length; or a length that no mapping can have.
    public static let wrongSize = Code(description: "not the mapping's length")
    /// A mapping begins there and goes another way; for a device: reading or writing is not allowed.
    public static let wrongDirection = Code(description: "not the mapping's direction")
    /// No free addresses are left that are long enough.
    public static let exhausted = Code(description: "no free addresses of this length")
    /// The address is outside the window, or not as far into its page as the buffer's.
    public static let badAddress = Code(description: "not an address that the buffer can have here")
    /// The bytes lie in part outside the mapping, or the bytes to sync outside the slot.
    public static let pastTheEnd = Code(description: "past the end of the mapping")
    /// There is no memory behind the mapping any more: its file is shorter.
    public static let vanished = Code(description: "the file has no such bytes")
  }

  /// Why.
  public let code: Code
  /// The address that the call was about; nil where none was asked for.
  public let iova: IOVA?
  /// The length that the call was about, in bytes.
  public let byteCount: Int

  @usableFromInline
  init(_ code: Code, _ iova: IOVA?, _ byteCount: Int) {
    self.code = code
    self.iova = iova
    self.byteCount = byteCount
  }
}

extension IOTLBError {
  /// The kernel's number for the same refusal.
  public var errno: Errno {
    switch code {
    case .notMapped: .noSuchFileOrDirectory
    case .alreadyMapped: .fileExists
    case .exhausted: .noSpace
    case .wrongDirection: .permissionDenied
    case .vanished: .badAddress
    default: .invalidArgument
    }
  }
}

extension IOTLBError: CustomStringConvertible {
  /// One line: what, and why.
  public var description: String {
    "\(byteCount) bytes\(iova.map { " at \($0)" } ?? ""): \(code)"
  }
}
