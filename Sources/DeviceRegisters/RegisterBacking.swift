// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// What stands behind the part of a window that cannot be reached by plain loads and stores.
///
/// A class, because a window and the views made of it share it; it keeps what it needs alive (mappings, the
/// device's descriptor, a simulated device).
public protocol RegisterBacking: AnyObject, Sendable {
  /// Reads `byteWidth` bytes (1, 2, 4 or 8) at a multiple of that width.
  func load(at byteOffset: Int, byteWidth: Int) throws(KernelError) -> UInt64
  /// Writes the low `byteWidth` bytes (1, 2, 4 or 8) of `value` at a multiple of that width.
  func store(_ value: UInt64, at byteOffset: Int, byteWidth: Int) throws(KernelError)
  /// The first error of an access that could not report it, and forgets it.
  func takeFault() -> KernelError?
  /// Keeps an error for ``takeFault()`` if there is none yet.
  func recordFault(_ error: KernelError)
}
