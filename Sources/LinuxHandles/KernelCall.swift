// SPDX-License-Identifier: Apache-2.0
internal import SystemPackage

/// Makes one kernel call: the only door through which this package reaches the kernel.
///
/// A call that a signal interrupted is made again. In debug builds the task's ``FaultPlan`` may fail the
/// call before it is made.
/// - Parameters:
///   - operation: The kernel's name of the call.
///   - subject: What it is done to; evaluated only for an error.
///   - body: The call; answers a value >= 0, or -errno.
/// - Returns: The call's value, >= 0.
/// - Throws: `KernelError` with the errno of the call.
@inlinable @inline(__always) @discardableResult
public func kernelCall<Value: FixedWidthInteger & SignedInteger>(
  _ operation: StaticString, on subject: @autoclosure () -> String = "", _ body: () -> Value
) throws(KernelError) -> Value {
  #if DEBUG
    if let error = plannedFailure(operation, subject) { throw error }
  #endif
  while true {
    let value = body()
    if _fastPath(value >= 0) { return value }
    if let error = kernelFailure(operation, CInt(truncatingIfNeeded: -value), subject) { throw error }
  }
}

// Out of the way of calls that succeed, which are a part of hot paths.

/// The error of a call; nil for one that a signal interrupted.
@usableFromInline @inline(never)
func kernelFailure(_ operation: StaticString, _ errno: CInt, _ subject: () -> String) -> KernelError? {
  let errno = Errno(rawValue: errno)
  if errno == .interrupted { return nil }
  return KernelError(operation: operation.description, errno: errno, subject: subject())
}

#if DEBUG
  @usableFromInline @inline(never)
  func plannedFailure(_ operation: StaticString, _ subject: () -> String) -> KernelError? {
    FaultPlan.current?.failureOfNextCall(operation).map { errno in
      KernelError(operation: operation.description, errno: errno, subject: subject())
    }
  }
#endif

/// Makes a kernel call that gives something back (close, munmap): a planned fault is reported after the
/// call was made, as the kernel does it, so that a test of failures leaks nothing itself.
public func kernelRelease(
  _ operation: StaticString, on subject: @autoclosure () -> String = "", _ body: () -> CInt
) throws(KernelError) {
  let value = body()
  if value < 0 {
    throw KernelError(
      operation: operation.description, errno: Errno(rawValue: -value), subject: subject())
  }
  #if DEBUG
    if let errno = FaultPlan.current?.failureOfNextCall(operation) {
      throw KernelError(operation: operation.description, errno: errno, subject: subject())
    }
  #endif
}
