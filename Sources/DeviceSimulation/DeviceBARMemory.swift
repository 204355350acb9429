// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// A part of a BAR that is memory: who reads or writes it calls nobody, and the model looks at it when it likes.
///
/// Whoever maps it for a driver keeps this object as long.
public final class DeviceBARMemory: Sendable {
  /// Its place in the BAR, in bytes: whole pages.
  public let byteOffset: Int
  /// The memory; zero at first.
  public let memory: MappedMemory

  /// Makes memory for a part of a BAR.
  /// - Parameter byteCount: Whole pages.
  /// - Throws: `KernelError` for `mmap`.
  public init(at byteOffset: Int, byteCount: Int) throws(KernelError) {
    precondition(byteOffset % 4096 == 0 && byteCount % 4096 == 0, "whole pages are mapped")
    self.byteOffset = byteOffset
    memory = try .anonymous(byteCount: byteCount)
  }

  /// Its place in the BAR.
  var range: Range<Int> { byteOffset..<(byteOffset + memory.byteCount) }
}
