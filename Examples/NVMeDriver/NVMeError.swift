// SPDX-License-Identifier: Apache-2.0
public import DriverCore
internal import LinuxHandles

extension DriverError.Code {
  /// The controller refused a command or failed at it; the error has the status.
  public static var commandFailed: DriverError.Code { DriverError.Code(name: "command failed") }
  /// The controller was reset, by this error's owner or another thread: what was on its way is over, done or not.
  public static var wasReset: DriverError.Code { DriverError.Code(name: "controller was reset") }
  /// It is not known that the controller stopped: memory that it knows must not be used for anything else.
  public static var notStopped: DriverError.Code { DriverError.Code(name: "controller did not stop") }
  /// Memory or a length that a command cannot name.
  public static var misaligned: DriverError.Code { DriverError.Code(name: "misaligned") }
  /// Blocks beyond the namespace's end, or more than one command moves.
  public static var outOfRange: DriverError.Code { DriverError.Code(name: "out of range") }
  /// There is no such namespace, or it is not active.
  public static var noNamespace: DriverError.Code { DriverError.Code(name: "no such namespace") }
}

/// What went wrong with an NVMe controller or with one command.
public struct NVMeError: Error, Hashable, Sendable {
  /// What kind of trouble, what was expected and what was seen.
  public let cause: DriverError
  /// The command that it happened to, if it was one.
  public let command: NVMeOpcode?
  /// How the controller ended it, if it did.
  public let status: NVMeStatus?

  /// What kind of trouble.
  public var code: DriverError.Code { cause.code }

  /// A trouble of the device or of the kernel.
  public init(_ cause: DriverError, during command: NVMeOpcode? = nil) {
    self.cause = cause
    self.command = command
    status = nil
  }

  init(_ code: DriverError.Code, _ detail: String, during command: NVMeOpcode? = nil) {
    self.init(DriverError(code: code, detail: detail), during: command)
  }

  /// A command that ended with a status.
  public init(_ command: NVMeOpcode, endedWith status: NVMeStatus, on subject: String = "") {
    cause = DriverError(
      code: .commandFailed, detail: "\(command)\(subject.isEmpty ? "" : " of \(subject)"): \(status)")
    self.command = command
    self.status = status
  }

  /// Does what may throw a `DriverError`.
  static func wrapping<Value: ~Copyable>(
    _ body: () throws(DriverError) -> Value
  ) throws(NVMeError) -> Value {
    do throws(DriverError) {
      return try body()
    } catch {
      throw NVMeError(error)
    }
  }

  /// Does what may throw a `KernelError`.
  static func wrappingKernel<Value: ~Copyable>(
    _ body: () throws(KernelError) -> Value
  ) throws(NVMeError) -> Value {
    do throws(KernelError) {
      return try body()
    } catch {
      throw NVMeError(DriverError(error))
    }
  }
}

extension NVMeError: CustomStringConvertible {
  /// One line: the kind, the command and its status.
  public var description: String {
    guard status == nil, let command else { return cause.description }
    return "\(command): \(cause)"
  }
}
