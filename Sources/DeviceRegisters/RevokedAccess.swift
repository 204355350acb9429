// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import SystemPackage

/// What a window keeps for its `takeFault()` when registers were taken away while it was in use.
public enum RevokedAccess {
  static var operation: String { "access registers" }

  /// The error of an access that found nobody.
  /// - Parameters:
  ///   - subject: Whose registers, and where.
  ///   - reason: Who took them away, as far as this process knows.
  public static func error(on subject: String, because reason: String) -> KernelError {
    KernelError(
      operation: operation, errno: .operationNotSupportedByDevice, subject: subject, remedy: reason)
  }

  static var reasonOfSignal: String {
    "the kernel revoked the mapping: the device is being reset, its memory decode is off, or it was closed; "
      + "the next access asks anew"
  }

  static var reasonOfDetachment: String {
    "the device was given back to the kernel while this window lived: it was unplugged, unbound or revoked"
  }
}

extension KernelError {
  /// Whether this is the error of an access to registers that were taken away.
  public var isRevokedAccess: Bool { operation == RevokedAccess.operation }
}
