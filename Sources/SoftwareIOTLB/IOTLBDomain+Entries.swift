// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

// What a device's process asks: which file has the bytes of an address.
extension IOTLBDomain {
  /// The first range, by address, that has an address of `range`, with its file; nil where there is none.
  ///
  /// The streaming window is one range, so that a process that maps it once finds all that is mapped there later.
  public func lookup(_ range: IOVARange) -> IOTLBEntry? { entries.first { $0.range.overlaps(range) } }

  /// All ranges, by address: the streaming window, each exposure, and what ``setMap(_:)`` set.
  ///
  /// It is true for one moment; other threads may go on.
  public var entries: [IOTLBEntry] {
    let window = IOTLBEntry(
      range: layout.bounceRange, access: .readWrite, file: file,
      fileOffset: layout.bounceRange.start.rawValue)
    let exposed = exposures.map { exposure in
      IOTLBEntry(
        range: exposure.range, access: exposure.access, file: file,
        fileOffset: exposure.range.start.rawValue)
    }
    return ([window] + exposed + chosen.withLock { $0 }).sorted { $0.range.start < $1.range.start }
  }

  /// Gives ranges of addresses to parts of other files, such as a guest's memory, in the place of those that were set
  /// before.
  ///
  /// The files are the caller's to fill: nothing is copied. Where it fails, none are set.
  /// - Parameter entries: Of whole pages, in any order, none of them in the streaming window; they may lie beyond the
  ///   domain's limit.
  /// - Throws: `KernelError`: `EINVAL` for parts of pages, or in the streaming window; `EEXIST` where one meets another,
  ///   or something that is mapped.
  public func setMap(_ entries: [IOTLBEntry]) throws(KernelError) {
    try chosen.withLock { chosen throws(KernelError) in
      giveBack(chosen)
      chosen = []
      var taken: [IOTLBEntry] = []
      do throws(KernelError) {
        for entry in entries {
          try take(entry, besides: taken)
          taken.append(entry)
        }
      } catch {
        giveBack(taken)
        throw error
      }
      chosen = taken
    }
  }

  /// Ends what ``setMap(_:)`` set.
  public func clearMap() {
    chosen.withLock { chosen in
      giveBack(chosen)
      chosen = []
    }
  }

  private func take(_ entry: IOTLBEntry, besides others: [IOTLBEntry]) throws(KernelError) {
    let mask = UInt64(SlotTable.offsetMask)
    let byteCount = entry.range.byteCountMinusOne &+ 1
    guard entry.range.start.rawValue & mask == 0, byteCount != 0, byteCount & mask == 0,
      entry.fileOffset & mask == 0, byteCount <= UInt64(Int64.max),
      entry.range.start.rawValue >= layout.bounceByteCount
    else {
      throw refusal(
        of: entry, .invalidArgument, "set whole pages from \(layout.stayingRange.start) on")
    }
    guard !others.contains(where: { $0.range.overlaps(entry.range) }) else {
      throw refusal(of: entry, .fileExists, "two entries have an address in common")
    }
    guard let inside = Self.part(of: entry.range, in: layout.stayingRange) else { return }
    _ = try reservations.take(
      at: inside.start, byteCount: Int(inside.byteCountMinusOne) + 1, alignment: granuleByteCount,
      granule: granuleByteCount, upTo: IOVA(.max), in: label)
  }

  private func giveBack(_ entries: [IOTLBEntry]) {
    for entry in entries {
      if let inside = Self.part(of: entry.range, in: layout.stayingRange) { reservations.giveBack(inside) }
    }
  }

  private static func part(of range: IOVARange, in window: IOVARange) -> IOVARange? {
    guard range.overlaps(window) else { return nil }
    return IOVARange(start: max(range.start, window.start), last: min(range.last, window.last))
  }

  private func refusal(of entry: IOTLBEntry, _ errno: Errno, _ remedy: String) -> KernelError {
    KernelError(operation: "set map", errno: errno, subject: "\(label), \(entry)", remedy: remedy)
  }
}
