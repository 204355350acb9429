// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// A window of device registers that is mapped as a whole: the form for a hot path.
///
/// Each access is one machine instruction and a bound that the compiler can lift out of loops. Several
/// threads may use one window; the device orders what they do.
@safe @frozen
public struct MappedWindow: ~Copyable, @unchecked Sendable {
  @usableFromInline let baseAddress: UnsafeMutableRawPointer
  /// The window's length in bytes.
  public let byteCount: Int
  @usableFromInline let owner: any RegisterBacking

  /// Makes a window of `byteCount` bytes that `owner` keeps mapped.
  @unsafe
  public init(baseAddress: UnsafeMutableRawPointer, byteCount: Int, owner: any RegisterBacking) {
    precondition(byteCount >= 8, "a window has room for the widest register")
    unsafe self.baseAddress = unsafe baseAddress
    self.byteCount = byteCount
    self.owner = owner
  }

  /// Reads a register: one load of exactly its width.
  @inlinable
  public borrowing func read<Word>(_ register: Register<Word>) -> Word {
    precondition(register.byteOffset <= byteCount &- MemoryLayout<Word>.size, "register lies past the window")
    // SAFETY: the offset is inside the mapping, which `owner` keeps, and only scalars are formed.
    return unsafe Word.volatileLoad(baseAddress + register.byteOffset)
  }

  /// Writes a register: one store of exactly its width.
  @inlinable
  public borrowing func write<Word>(_ value: Word, to register: Register<Word>) {
    precondition(register.byteOffset <= byteCount &- MemoryLayout<Word>.size, "register lies past the window")
    // SAFETY: as in read(_:).
    unsafe Word.volatileStore(value, baseAddress + register.byteOffset)
  }

  /// The first access since the last call that the device did not answer (a read of it gave all ones), or nil.
  public borrowing func takeFault() -> KernelError? { owner.takeFault() }
}
