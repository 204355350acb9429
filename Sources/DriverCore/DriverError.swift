// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import SystemPackage

/// A device misbehaved, was late, or went away; or the kernel refused what the driver needed for it.
public struct DriverError: Error, Hashable, Sendable {
  /// What kind of trouble.
  ///
  /// New kinds may be added.
  public struct Code: Hashable, Sendable {
    /// A name for messages and logs.
    public let name: String
    /// Makes a code of a driver's own.
    public init(name: String) { self.name = name }

    /// The device did not answer in time.
    public static var timedOut: Code { Code(name: "timed out") }
    /// The device answered with what its specification excludes, or reported an error.
    public static var deviceFault: Code { Code(name: "device fault") }
    /// The function is not the device that this driver serves.
    public static var wrongDevice: Code { Code(name: "wrong device") }
    /// The device is gone: it was unplugged, or its registers read as all ones.
    public static var removed: Code { Code(name: "device removed") }
    /// The device lacks what was asked for.
    public static var unsupported: Code { Code(name: "unsupported") }
    /// The kernel refused; see `kernelError`.
    public static var kernel: Code { Code(name: "kernel error") }
  }

  /// What kind of trouble.
  public let code: Code
  /// What was expected and what was seen.
  public let detail: String
  /// The kernel's refusal behind it, if any.
  public let kernelError: KernelError?

  /// Makes an error.
  public init(code: Code, detail: String, kernelError: KernelError? = nil) {
    self.code = code
    self.detail = detail
    self.kernelError = kernelError
  }

  /// The kernel's refusal as a driver sees it: ``Code/removed`` for `ENODEV`, else ``Code/kernel``.
  public init(_ error: KernelError) {
    let isGone = error.errno == .operationNotSupportedByDevice
    self.init(code: isGone ? .removed : .kernel, detail: error.description, kernelError: error)
  }

  /// Runs kernel calls on behalf of a driver, and turns their refusal into a `DriverError`.
  public static func wrapping<Value: ~Copyable>(
    _ body: () throws(KernelError) -> Value
  ) throws(DriverError) -> Value {
    do throws(KernelError) {
      return try body()
    } catch {
      throw DriverError(error)
    }
  }
}

extension DriverError: CustomStringConvertible {
  /// One line: the kind and the detail.
  public var description: String { kernelError == nil ? "\(code.name): \(detail)" : detail }
}
