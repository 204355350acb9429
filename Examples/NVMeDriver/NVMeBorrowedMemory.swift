// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DriverCore
internal import LinuxHandles

/// A caller's bytes as one call lends them to the controller.
///
/// The whole pages in them are mapped as they are. What lies in the first and the last page beside them is not the
/// caller's to lend: the parts of these two pages are copied through pages of the driver's.
@safe
struct NVMeBorrowedMemory {
  private let start: UnsafeMutableRawPointer
  private let byteCount: Int
  private let space: any AddressSpace
  /// What can be mapped.
  private let unit: Int
  /// The bytes before the first whole unit, those in whole units, and the rest.
  private let head, middle, tail: Range<Int>

  /// - Throws: `NVMeError` of code `.misaligned` for bytes that do not begin at a multiple of 4.
  init(_ bytes: UnsafeMutableRawBufferPointer, in space: any AddressSpace) throws(NVMeError) {
    guard let start = bytes.baseAddress else { throw NVMeError(.outOfRange, "no memory") }
    let address = UInt(bitPattern: start)
    guard address & 3 == 0 else {
      throw NVMeError(.misaligned, "memory at 0x\(String(address, radix: 16)), not a multiple of 4")
    }
    unsafe self.start = unsafe start
    self.space = space
    byteCount = bytes.count
    unit = max(4096, space.granuleByteCount)
    let first = min(byteCount, Int((UInt(unit) - address % UInt(unit)) % UInt(unit)))
    let last = first + (byteCount - first) / unit * unit
    (head, middle, tail) = (0..<first, first..<last, last..<byteCount)
  }

  /// Lends the bytes until the transfer is over.
  /// - Parameters:
  ///   - access: What the controller may do.
  ///   - transfer: Gets the pieces by which the controller knows the bytes, in their order.
  /// - Throws: What `transfer` throws; else `NVMeError` for memory that the kernel does not map or unmap.
  func lend(
    _ access: DMAAccess, to transfer: ([NVMeSegment]) throws(NVMeError) -> Void
  ) throws(NVMeError) {
    guard !head.isEmpty || !tail.isEmpty else { return try lendMiddle(access, to: transfer) }
    let edges = try NVMeError.wrappingKernel { () throws(KernelError) in
      try space.expose(UnsharedMemory(byteCount: 2 * unit), access: access)
    }
    // The head's bytes have the same place in their page as in the caller's.
    let headPlace = (unit - head.count) % unit
    if access.contains(.read) {
      copy(head, toPlace: headPlace, of: edges)
      copy(tail, toPlace: unit, of: edges)
    }
    edges.syncForDevice()
    try lendMiddle(access) { segments throws(NVMeError) in
      var all: [NVMeSegment] = []
      if !head.isEmpty { all.append(NVMeSegment(edges.iova(at: headPlace), byteCount: head.count)) }
      all += segments
      if !tail.isEmpty { all.append(NVMeSegment(edges.iova(at: unit), byteCount: tail.count)) }
      try transfer(all)
    }
    edges.syncForCPU()
    if access.contains(.write) {
      copy(fromPlace: headPlace, of: edges, to: head)
      copy(fromPlace: unit, of: edges, to: tail)
    }
  }

  private func lendMiddle(
    _ access: DMAAccess, to transfer: ([NVMeSegment]) throws(NVMeError) -> Void
  ) throws(NVMeError) {
    if middle.isEmpty { return try transfer([]) }
    var failure: NVMeError?
    do throws(KernelError) {
      let base = unsafe start + middle.lowerBound
      try unsafe space.lendPages(at: base, byteCount: middle.count, access: access) { range in
        do throws(NVMeError) {
          try transfer([NVMeSegment(range.start, byteCount: middle.count)])
        } catch {
          failure = error
        }
      }
    } catch {
      throw failure ?? NVMeError(DriverError(error))
    }
    if let failure { throw failure }
  }

  // SAFETY of both: the ranges are inside the caller's bytes, and fit the page of their edge.

  private func copy(_ part: Range<Int>, toPlace place: Int, of edges: borrowing DMAMemory) {
    if part.isEmpty { return }
    unsafe (edges.address + place).copyMemory(from: start + part.lowerBound, byteCount: part.count)
  }

  private func copy(fromPlace place: Int, of edges: borrowing DMAMemory, to part: Range<Int>) {
    if part.isEmpty { return }
    unsafe (start + part.lowerBound).copyMemory(from: edges.address + place, byteCount: part.count)
  }
}

extension [NVMeSegment] {
  /// The pieces of a part of the bytes.
  func part(_ bytes: Range<Int>) -> [NVMeSegment] {
    var place = 0
    return compactMap { segment in
      defer { place += segment.byteCount }
      let (from, to) = (
        Swift.max(bytes.lowerBound, place), Swift.min(bytes.upperBound, place + segment.byteCount)
      )
      guard from < to else { return nil }
      return NVMeSegment(segment.iova.advanced(byByteCount: from - place), byteCount: to - from)
    }
  }
}
