// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DeviceRegisters
internal import LinuxHandles

/// One guarded mapping of an entry's file: bytes that the file has no more read as ones, and end no process.
final class IOTLBSegment: Sendable {
  private let entry: IOTLBEntry
  // Declared before the mapping, so that it goes first: the addresses may be another mapping's right after.
  private let guarding: WindowGuard
  private let mapping: MappedMemory

  /// - Throws: `KernelError` for `dup`, `mmap`, `madvise`, or what the guard needs.
  init(_ entry: IOTLBEntry) throws(KernelError) {
    let mapping = try entry.file.mapping(
      at: entry.fileOffset, byteCount: Int(entry.range.byteCountMinusOne) + 1)
    guarding = try WindowGuard(of: mapping)
    self.entry = entry
    self.mapping = mapping
  }

  /// Where the bytes of an address of the entry's are.
  @unsafe
  func place(_ iova: IOVA) -> UnsafeMutableRawPointer {
    unsafe mapping.baseAddress + Int(iova.rawValue - entry.range.start.rawValue)
  }

  /// Whether bytes were missed since the last call; the file is mapped anew then, as it may have them again.
  func takeFault() -> Bool {
    guard let place = guarding.take() else { return false }
    do throws(KernelError) {
      try entry.file.map(at: entry.fileOffset, over: mapping)
    } catch {
      guarding.putBack(place)
    }
    return true
  }
}
