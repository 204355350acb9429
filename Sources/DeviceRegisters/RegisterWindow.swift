// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// A window of device registers, however backed: mapped as a whole, mapped in parts, reached by pread and
/// pwrite, or simulated.
///
/// The largest mapped part is reached by a compare and one access; the rest goes through the backing. What a
/// backing cannot read is all ones, as on a PCI bus, and the reason waits in ``takeFault()``: data from a
/// device never traps. Several threads may use one window.
@safe @frozen
public struct RegisterWindow: ~Copyable, @unchecked Sendable {
  /// Address of the mapped part's first byte; unused when `mappedCount` is 0.
  @usableFromInline let mappedBase: UnsafeMutableRawPointer
  @usableFromInline let mappedOffset: Int
  @usableFromInline let mappedCount: Int
  @usableFromInline let backing: any RegisterBacking
  /// The window's length in bytes.
  public let byteCount: Int

  /// Makes a window in which every access goes through its backing.
  public init(byteCount: Int, backing: any RegisterBacking) {
    precondition(byteCount >= 0, "a window has no negative length")
    // SAFETY: never dereferenced, since no offset is below a count of 0.
    unsafe mappedBase = unsafe UnsafeMutableRawPointer(bitPattern: 8).unsafelyUnwrapped
    mappedOffset = 0
    mappedCount = 0
    self.byteCount = byteCount
    self.backing = backing
  }

  /// Makes a window of which one part is mapped; accesses outside it go through the backing.
  /// - Parameters:
  ///   - mappedBase: Where the part is mapped. `backing` keeps it so. Aligned to 8 bytes.
  ///   - mappedRange: The part's place in the window, in bytes; both ends are multiples of 8.
  @unsafe
  public init(
    byteCount: Int, mappedBase: UnsafeMutableRawPointer, mappedRange: Range<Int>, backing: any RegisterBacking
  ) {
    precondition(mappedRange.lowerBound >= 0 && mappedRange.upperBound <= byteCount, "the part lies inside")
    precondition(
      (mappedRange.lowerBound | mappedRange.upperBound | Int(bitPattern: mappedBase)) & 7 == 0,
      "no register may straddle the mapped part's ends")
    unsafe self.mappedBase = unsafe mappedBase
    mappedOffset = mappedRange.lowerBound
    mappedCount = mappedRange.count
    self.byteCount = byteCount
    self.backing = backing
  }

  /// Reads a register; all ones where the device cannot be reached.
  @inlinable
  public borrowing func read<Word>(_ register: Register<Word>) -> Word {
    assert(register.access != .writeOnly, "this register is write-only")
    assert(register.access != .clearOnRead, "reading this register changes the device: readAndClear")
    return load(Word.self, at: register.byteOffset)
  }

  /// Reads a register that the read itself changes.
  @inlinable
  public mutating func readAndClear<Word>(_ register: Register<Word>) -> Word {
    load(Word.self, at: register.byteOffset)
  }

  /// Writes a register.
  @inlinable
  public borrowing func write<Word>(_ value: Word, to register: Register<Word>) {
    assert(register.access != .readOnly, "this register is read-only")
    store(value, at: register.byteOffset)
  }

  /// Reads one word at a place that is only known at run time (a dump, a table); a multiple of its width.
  @inlinable
  public borrowing func load<Word: RegisterWord>(_ type: Word.Type, at byteOffset: Int) -> Word {
    let place = UInt(bitPattern: byteOffset &- mappedOffset)
    if place < UInt(bitPattern: mappedCount) && byteOffset & (MemoryLayout<Word>.size &- 1) == 0 {
      // SAFETY: an aligned word that begins inside the part also ends there: both ends are multiples of 8.
      return unsafe Word.volatileLoad(mappedBase + Int(bitPattern: place))
    }
    return Word(truncatingIfNeeded: slowLoad(at: byteOffset, byteWidth: MemoryLayout<Word>.size))
  }

  /// Writes one word at a place that is only known at run time; a multiple of its width.
  @inlinable
  public borrowing func store<Word: RegisterWord>(_ value: Word, at byteOffset: Int) {
    let place = UInt(bitPattern: byteOffset &- mappedOffset)
    if place < UInt(bitPattern: mappedCount) && byteOffset & (MemoryLayout<Word>.size &- 1) == 0 {
      // SAFETY: as in load(_:at:).
      unsafe Word.volatileStore(value, mappedBase + Int(bitPattern: place))
    } else {
      slowStore(UInt64(truncatingIfNeeded: value), at: byteOffset, byteWidth: MemoryLayout<Word>.size)
    }
  }

  @inline(never) @usableFromInline
  borrowing func slowLoad(at byteOffset: Int, byteWidth: Int) -> UInt64 {
    checkPlace(byteOffset, byteWidth)
    do throws(KernelError) {
      return try backing.load(at: byteOffset, byteWidth: byteWidth)
    } catch {
      backing.recordFault(error)
      return .max
    }
  }

  @inline(never) @usableFromInline
  borrowing func slowStore(_ value: UInt64, at byteOffset: Int, byteWidth: Int) {
    checkPlace(byteOffset, byteWidth)
    do throws(KernelError) {
      try backing.store(value, at: byteOffset, byteWidth: byteWidth)
    } catch {
      backing.recordFault(error)
    }
  }

  private borrowing func checkPlace(_ byteOffset: Int, _ byteWidth: Int) {
    precondition(
      byteOffset >= 0 && byteOffset <= byteCount - byteWidth && byteOffset % byteWidth == 0,
      "register at \(byteOffset), \(byteWidth) bytes wide, lies past or across a window of \(byteCount) bytes"
    )
  }

  /// The first access since the last call that could not be done (a read of it gave all ones), or nil.
  public borrowing func takeFault() -> KernelError? { backing.takeFault() }

  /// How many bytes from ``mappedByteOffset`` on are reached by plain loads and stores.
  public var mappedByteCount: Int { mappedCount }

  /// Where in the window the mapped part begins, in bytes.
  public var mappedByteOffset: Int { mappedOffset }

  /// The window in its form for a hot path, where all of it is mapped; otherwise the window comes back.
  public consuming func mapped() -> MappedWindowResult {
    guard mappedOffset == 0 && mappedCount == byteCount && byteCount >= 8 else { return .notMapped(self) }
    return unsafe .mapped(MappedWindow(baseAddress: mappedBase, byteCount: byteCount, owner: backing))
  }
}

/// What ``RegisterWindow/mapped()`` made of a window.
public enum MappedWindowResult: ~Copyable {
  /// All of it is mapped.
  case mapped(MappedWindow)
  /// Parts of it are not: here it is again.
  case notMapped(RegisterWindow)
}
