// SPDX-License-Identifier: Apache-2.0
package import LinuxHandles
internal import SystemPackage

/// What the owner of an exposure keeps, to end it.
struct ExposureNote: Sendable {
  /// What it took of the space's addresses.
  let range: IOVARange
  /// Its number in the table.
  let slot: UInt32
  /// The table's, from before it was noted there.
  let epoch: Int
}

// Out of line, with references that their callers hold: so nothing in here is retained and released.
extension IOVAReservations {
  /// Takes addresses, notes who has them, counts the share and maps; what was done is undone, last first, where a
  /// step fails.
  /// - Parameter bytes: Of the memory; whole pages.
  @inline(never)
  func begin(
    _ bytes: Range<Int>, of pages: MemoryPages, in space: any AddressSpace, access: DMAAccess,
    sharing: DMASharing, at iova: IOVA?, addressBits: Int
  ) throws(KernelError) -> ExposureNote {
    let byteCount = bytes.upperBound &- bytes.lowerBound
    if _slowPath(byteCount > Int(IOVAMap.greatestByteCount)) {
      try Self.checkLength(byteCount, in: space.label)
    }
    let request = Self.request(byteCount, space.granuleByteCount, at: iova, addressBits: addressBits)
    exposures.gate.enter()
    defer { exposures.gate.leave() }
    let epoch = exposures.epoch
    let (range, slot): (IOVARange, UInt32)
    do throws(IOVAAllocator.Failure) {
      (range, slot) = try exposures.insert(request, of: bytes, access, sharing, pages.shares)
    } catch {
      throw refused(error, byteCount, in: space, at: iova, addressBits: addressBits)
    }
    do throws(PageShareError) {
      try pages.shares.shareExposed(bytes, in: exposures, of: space)
    } catch {
      exposures.remove(slot, range)
      throw KernelError(error, of: pages.byteCount)
    }
    do throws(KernelError) {
      let base = unsafe pages.baseAddress + bytes.lowerBound
      try unsafe space.mapPages(base, to: range, access: access, sharing: sharing)
    } catch {
      pages.shares.unshareExposed(bytes)
      exposures.remove(slot, range)
      throw error
    }
    return ExposureNote(range: range, slot: slot, epoch: epoch)
  }

  @inline(__always)
  private static func request(
    _ byteCount: Int, _ granule: Int, at iova: IOVA?, addressBits: Int
  ) -> IOVARequest {
    IOVARequest(
      address: iova, byteCount: byteCount, alignment: alignment(byteCount, granule), granule: granule,
      limit: .highest(addressBits: addressBits))
  }

  @inline(never)
  private func refused(
    _ failure: IOVAAllocator.Failure, _ byteCount: Int, in space: any AddressSpace, at iova: IOVA?,
    addressBits: Int
  ) -> KernelError {
    Self.request(byteCount, space.granuleByteCount, at: iova, addressBits: addressBits)
      .refused(failure, by: space.label, allowing: exposures.allowed)
  }

  /// A whole huge page can only be one entry of the IOMMU's page table where the IOVA is aligned to it too.
  @inline(__always)
  private static func alignment(_ byteCount: Int, _ granule: Int) -> Int {
    byteCount < 1 << 21 ? granule : max(granule, byteCount < 1 << 30 ? 1 << 21 : 1 << 30)
  }

  /// Refuses what the index of exposures does not take at once.
  /// - Throws: `KernelError`: `EINVAL`, with what is needed and the limit.
  @inline(never)
  package static func checkLength(_ byteCount: Int, in space: String) throws(KernelError) {
    let limit = Int(IOVAMap.greatestByteCount)
    guard byteCount > limit else { return }
    throw KernelError(
      operation: "expose memory", errno: .invalidArgument, subject: "\(space), \(byteCount) bytes",
      remedy: "needed \(byteCount) bytes, limit \(limit) (16 TiB): expose it in parts")
  }

  /// Ends an exposure.
  /// - Throws: `KernelError` for the unmap call. The pages are then parked.
  @inline(never)
  func end(
    _ note: ExposureNote, _ bytes: Range<Int>, of pages: MemoryPages, in space: any AddressSpace
  ) throws(KernelError) {
    exposures.gate.enter()
    defer { exposures.gate.leave() }
    try undo(note, bytes, of: pages, in: space, isReached(note)) { space, range throws(KernelError) in
      try space.unmapPages(range)
    }
  }

  /// Ends an exposure of memory that nobody else has a share of.
  /// - Throws: `KernelError`: `EBUSY`, naming the others; it is ended all the same. Else as
  ///   ``end(_:_:of:in:)``.
  @inline(never)
  func endAsOnlyOne(
    _ note: ExposureNote, _ bytes: Range<Int>, of pages: MemoryPages, in space: any AddressSpace,
    unmapping unmap: (any AddressSpace, IOVARange) throws(KernelError) -> Void
  ) throws(KernelError) {
    exposures.gate.enter()
    defer { exposures.gate.leave() }
    let isReached = isReached(note)
    do throws(PageShareError) {
      try pages.shares.checkUnshared(besides: isReached ? note.slot : nil, of: exposures)
    } catch {
      _ = try? undo(note, bytes, of: pages, in: space, isReached) { space, range throws(KernelError) in
        try space.unmapPages(range)
      }
      throw KernelError(error, of: pages.byteCount)
    }
    try undo(note, bytes, of: pages, in: space, isReached, unmapping: unmap)
  }

  /// Whether devices reach the pages: not where all exposures of the space were ended.
  @inline(__always)
  private func isReached(_ note: ExposureNote) -> Bool { exposures.isReached(note.slot, since: note.epoch) }

  /// Undoes all, inside the gate.
  @inline(__always)
  private func undo(
    _ note: ExposureNote, _ bytes: Range<Int>, of pages: MemoryPages, in space: any AddressSpace,
    _ isReached: Bool, unmapping unmap: (any AddressSpace, IOVARange) throws(KernelError) -> Void
  ) throws(KernelError) {
    if isReached {
      do throws(KernelError) {
        try unmap(space, note.range)
      } catch {
        park(note, bytes, of: pages, in: space)
        throw error
      }
      pages.shares.unshareExposed(bytes)
    }
    exposures.remove(note.slot, note.range)
  }

  /// The pages could not be unmapped.
  @inline(never)
  private func park(
    _ note: ExposureNote, _ bytes: Range<Int>, of pages: MemoryPages, in space: any AddressSpace
  ) {
    pages.shares.keepExposed(bytes, by: "\(space.label), \(note.range)", until: space)
    exposures.park(note.slot)
    pages.park(in: self)
  }
}
