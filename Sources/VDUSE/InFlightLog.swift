// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import CMMIO
public import LinuxHandles
internal import SystemPackage

/// What a server of a device notes for the one after it, in a file that outlives a killed process.
///
/// The used ring in the driver's memory says what was given back. This says what was done and not yet given back, so that
/// it is not done again, and how far the driver was, which the kernel does not tell.
///
/// Notes are stores into a mapped file: they survive the death of the process, and not that of the machine, with which
/// the device goes too.
@safe
public final class InFlightLog: Sendable {
  /// The last chain of a queue that was done.
  public struct Entry: Hashable, Sendable {
    /// At which free-running available index it was taken.
    public let place: UInt16
    /// Its head.
    public let head: UInt16
    /// How many bytes were written into it; below 2^31.
    public let writtenByteCount: UInt32
    /// Notes a chain.
    public init(place: UInt16, head: UInt16, writtenByteCount: UInt32) {
      self.place = place
      self.head = head
      self.writtenByteCount = writtenByteCount
    }
  }

  private static let magic: UInt64 = 0x474f_4c45_5355_4456  // "VDUSELOG"
  private static let statusOffset = 16
  private static let entryOffset = 64
  // A cache line for each queue: each is written by a thread of its own.
  private static let entryStride = 64

  private let memory: MappedMemory
  private let queueCount: Int

  /// Opens the log of a device, or makes an empty one.
  /// - Parameter isFresh: Whether what it holds is of a device that is gone.
  /// - Throws: `KernelError` for `open`, `pread`, `pwrite` and `mmap`; `EINVAL` for a file that is something else.
  public init(path: String, queueCount: Int, isFresh: Bool) throws(KernelError) {
    let file = OwnedDescriptor(
      adopting: try kernelCall("open", on: path) {
        unsafe path.withCString { unsafe abi_create($0, O_RDWR, 0o600) }
      })
    let byteCount = (Self.entryOffset + queueCount * Self.entryStride + 4095) / 4096 * 4096
    let isEmpty = try file.byteCount < UInt64(byteCount)
    if isFresh || isEmpty {
      // Written, and not left a hole: no store may run into a file system that is full.
      let zeroes = [UInt8](repeating: 0, count: byteCount)
      _ = unsafe try file.write(zeroes.span.bytes, atFileOffset: 0)
    }
    memory = try MappedMemory.sharing(file, offset: 0, byteCount: byteCount)
    if isFresh || isEmpty {
      unsafe cmmio_write64(memory.baseAddress, Self.magic)
      unsafe cmmio_write64(memory.baseAddress + 8, UInt64(queueCount))
    }
    guard unsafe cmmio_read64(memory.baseAddress) == Self.magic,
      unsafe cmmio_read64(memory.baseAddress + 8) == UInt64(queueCount)
    else {
      throw KernelError(
        operation: "open", errno: .invalidArgument, subject: path,
        remedy: "this is no log of \(queueCount) queues")
    }
    self.queueCount = queueCount
  }

  /// How far the driver was; 0 in an empty log.
  public var status: VirtioStatus {
    get {
      VirtioStatus(rawValue: unsafe cmmio_read8(memory.baseAddress + Self.statusOffset))
    }
    set { unsafe cmmio_write8(memory.baseAddress + Self.statusOffset, newValue.rawValue) }
  }

  /// The chain of a queue that was done last; nil where none was since ``clear(queue:)``.
  public func last(ofQueue index: Int) -> Entry? {
    let word = unsafe cmmio_read64(place(index))
    guard word >> 63 != 0 else { return nil }
    return Entry(
      place: UInt16(truncatingIfNeeded: word), head: UInt16(truncatingIfNeeded: word >> 16),
      writtenByteCount: UInt32(truncatingIfNeeded: word >> 32) & 0x7fff_ffff)
  }

  /// Notes that a chain was done; before it is given back.
  public func note(_ entry: Entry, ofQueue index: Int) {
    let word = UInt64(entry.place) | UInt64(entry.head) << 16 | UInt64(entry.writtenByteCount) << 32 | 1 << 63
    // One store: a death before or after it, never within.
    unsafe cmmio_write64(place(index), word)
  }

  /// Forgets what was done in a queue, which begins anew.
  public func clear(queue index: Int) { unsafe cmmio_write64(place(index), 0) }

  private func place(_ index: Int) -> UnsafeMutableRawPointer {
    precondition((0..<queueCount).contains(index), "a queue of this device")
    return unsafe memory.baseAddress + Self.entryOffset + index * Self.entryStride
  }
}
