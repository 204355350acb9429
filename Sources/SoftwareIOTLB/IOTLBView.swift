// SPDX-License-Identifier: Apache-2.0
public import DMACore
internal import DeviceRegisters
public import LinuxHandles
internal import Synchronization

/// The device's side of a domain, for a device that is software in this process.
///
/// It maps the files as another process would, a second time and no more than these. A transfer that is not inside one
/// mapping, or goes against its direction, is refused with an error, and so is one to bytes that a file has no more
/// (the kernel would end the process by SIGBUS).
///
/// All members may be called from any thread.
public final class IOTLBView: DeviceView {
  private let domain: IOTLBDomain
  private let pages: IOTLBSegment
  /// The files of ``IOTLBDomain/setMap(_:)`` that were used, each mapped once.
  private let others = Mutex<[IOTLBEntry: IOTLBSegment]>([:])
  private let refused = Mutex<IOTLBError?>(nil)

  /// Maps a domain's file.
  /// - Throws: `KernelError` for `mmap`, `madvise`, or what a guard of a mapping needs.
  public init(of domain: IOTLBDomain) throws(KernelError) {
    self.domain = domain
    let all = IOVARange(start: IOVA(0), last: domain.layout.limit)
    pages = try IOTLBSegment(
      IOTLBEntry(range: all, access: .readWrite, file: domain.file, fileOffset: 0))
  }

  /// Copies memory at a device's address into `target`: all of it, or nothing.
  /// - Throws: `IOTLBError`: `notMapped`, `pastTheEnd`, `wrongDirection` or `vanished`.
  public func read(at iova: IOVA, into target: inout MutableRawSpan) throws(IOTLBError) {
    let byteCount = target.byteCount
    guard byteCount > 0 else { return }
    let segment = try segment(iova, byteCount, .read)
    unsafe target.withUnsafeMutableBytes { bytes in
      // SAFETY: a span that is not empty has a first byte; the segment has all of the bytes.
      unsafe copyWords(from: segment.place(iova), to: bytes.baseAddress.unsafelyUnwrapped, byteCount)
    }
    try check(segment, iova, byteCount)
  }

  /// Copies `source` to memory at a device's address: all of it, or nothing.
  /// - Throws: `IOTLBError` as ``read(at:into:)``.
  public func write(_ source: RawSpan, at iova: IOVA) throws(IOTLBError) {
    let byteCount = source.byteCount
    guard byteCount > 0 else { return }
    let segment = try segment(iova, byteCount, .write)
    unsafe source.withUnsafeBytes { bytes in
      // SAFETY: as above.
      unsafe copyWords(from: bytes.baseAddress.unsafelyUnwrapped, to: segment.place(iova), byteCount)
    }
    try check(segment, iova, byteCount)
  }

  /// The first transfer since the last call that was refused, or nil; for models, which only learn that it was.
  public func takeFault() -> IOTLBError? { refused.withLock { $0.take() } }

  // MARK: DeviceView

  /// Copies memory for a model; ``takeFault()`` tells why it was refused.
  public func readAsDevice(at iova: IOVA, into target: inout MutableRawSpan) -> Bool {
    do throws(IOTLBError) {
      try read(at: iova, into: &target)
      return true
    } catch {
      return note(error)
    }
  }

  /// Copies to memory for a model; ``takeFault()`` tells why it was refused.
  public func writeAsDevice(_ source: RawSpan, at iova: IOVA) -> Bool {
    do throws(IOTLBError) {
      try write(source, at: iova)
      return true
    } catch {
      return note(error)
    }
  }

  private func note(_ error: IOTLBError) -> Bool {
    refused.withLock { if $0 == nil { $0 = error } }
    return false
  }

  // MARK: Parts

  /// The mapping that all bytes of a transfer lie in.
  private func segment(
    _ iova: IOVA, _ byteCount: Int, _ access: DMAAccess
  ) throws(IOTLBError) -> IOTLBSegment {
    if let slot = domain.slot(at: iova) {
      let end = slot.iova.rawValue + UInt64(slot.byteCount)
      guard slot.iova <= iova, iova.rawValue < end else {
        throw IOTLBError(.notMapped, iova, byteCount)
      }
      guard UInt64(byteCount) <= end - iova.rawValue else { throw IOTLBError(.pastTheEnd, iova, byteCount) }
      guard slot.direction.access.contains(access) else {
        throw IOTLBError(.wrongDirection, iova, byteCount)
      }
      return pages
    }
    guard let entry = domain.chosenEntry(at: iova) else { throw IOTLBError(.notMapped, iova, byteCount) }
    guard UInt64(byteCount) - 1 <= entry.range.last.rawValue - iova.rawValue else {
      throw IOTLBError(.pastTheEnd, iova, byteCount)
    }
    guard entry.access.contains(access) else { throw IOTLBError(.wrongDirection, iova, byteCount) }
    return try segment(of: entry)
  }

  private func segment(of entry: IOTLBEntry) throws(IOTLBError) -> IOTLBSegment {
    try others.withLock { others throws(IOTLBError) in
      if let known = others[entry] { return known }
      // What was replaced since is used no more.
      others = others.filter { domain.chosenEntry(at: $0.key.range.start) == $0.key }
      do throws(KernelError) {
        let segment = try IOTLBSegment(entry)
        others[entry] = segment
        return segment
      } catch {
        throw IOTLBError(.vanished, entry.range.start, Int(entry.range.byteCountMinusOne) + 1)
      }
    }
  }

  private func check(_ segment: IOTLBSegment, _ iova: IOVA, _ byteCount: Int) throws(IOTLBError) {
    if segment.takeFault() { throw IOTLBError(.vanished, iova, byteCount) }
  }
}

extension IOTLBDomain {
  /// The slot that the page of an address is in; nil for none, and beyond the domain.
  func slot(at iova: IOVA) -> BounceSlot? {
    iova <= layout.limit ? memory.table.slot(at: iova)?.slot : nil
  }

  /// What ``setMap(_:)`` set at an address.
  func chosenEntry(at iova: IOVA) -> IOTLBEntry? {
    chosen.withLock { $0.first { $0.range.start <= iova && iova <= $0.range.last } }
  }
}
