// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// The kernel said no: which operation, why, on what, and what the user can do about it.
public struct KernelError: Error, Hashable, Sendable {
  /// The kernel's name of the call, as in its documentation: `"VFIO_DEVICE_BIND_IOMMUFD"`, `"open"`.
  public let operation: String
  /// The kernel's reason.
  public let errno: Errno
  /// What it was done to: a path, a PCI address, an IOVA range.
  public let subject: String
  /// What would help, with numbers, where this library knows it.
  public var remedy: String?

  /// Creates an error from its parts.
  public init(operation: String, errno: Errno, subject: String, remedy: String? = nil) {
    self.operation = operation
    self.errno = errno
    self.subject = subject
    self.remedy = remedy
  }

  /// The same error on something: for hot paths, where a call that was made names nothing.
  public func on(_ subject: String) -> KernelError {
    KernelError(operation: operation, errno: errno, subject: subject, remedy: remedy)
  }

  /// The same error with advice for the user; advice that is there already stays.
  public func advising(_ remedy: @autoclosure () -> String?) -> KernelError {
    guard self.remedy == nil else { return self }
    return KernelError(operation: operation, errno: errno, subject: subject, remedy: remedy())
  }
}

extension KernelError: CustomStringConvertible {
  /// One line: operation, subject, reason, remedy.
  public var description: String {
    let place = subject.isEmpty ? "" : " on \(subject)"
    let advice = remedy.map { ". \($0)" } ?? ""
    return "\(operation)\(place): \(errno.description) (errno \(errno.rawValue))\(advice)"
  }
}
