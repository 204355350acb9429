// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import SystemPackage

/// Why a function's driver was not changed.
public enum BindingError: Error, Hashable, Sendable {
  /// This library would do harm, or waste the user's time; nothing was changed.
  case refused(BindingRefusal)
  /// The kernel said no; what had been changed was put back, or is in the journal.
  case kernel(KernelError)
}

extension BindingError: CustomStringConvertible {
  /// One line with the reason and what would help.
  public var description: String {
    switch self {
    case .refused(let refusal): refusal.description
    case .kernel(let error): error.description
    }
  }
}

/// Makes a kernel's refusal one of binding.
func asBindingError<Value: ~Copyable>(
  _ body: () throws(KernelError) -> Value
) throws(BindingError) -> Value {
  do throws(KernelError) {
    return try body()
  } catch {
    throw .kernel(error.advisingForBinding())
  }
}

extension KernelError {
  /// Adds what helps against the reasons that everyone meets once.
  func advisingForBinding() -> KernelError {
    switch errno {
    case .permissionDenied, .notPermitted: advising("Run as root: drivers are bound by writing to sysfs.")
    case .readOnlyFileSystem: advising("sysfs is read-only here, as in most containers: bind on the host.")
    default: self
    }
  }
}
