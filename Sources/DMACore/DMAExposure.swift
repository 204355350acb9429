// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles
internal import Synchronization

/// The fact that pages are mapped for the devices of one address space: made once, ended exactly once.
@safe @usableFromInline
final class DMAExposure: @unchecked Sendable {
  let pages: MemoryPages
  let range: IOVARange
  let space: any AddressSpace
  private let holder: PageShareHolder
  private let slot: UInt32
  private let isOver = Atomic<Bool>(false)

  /// Takes addresses, counts the share, notes both and maps; what was done is undone, last first, where a step
  /// fails.
  /// - Parameter bytes: Of the memory; whole pages.
  init(
    of bytes: Range<Int>, of pages: MemoryPages, in space: any AddressSpace, access: DMAAccess,
    sharing: DMASharing, at iova: IOVA?, addressBits: Int
  ) throws(KernelError) {
    precondition((1...64).contains(addressBits), "a device drives 1 to 64 address bits")
    let (reservations, label) = (space.reservations, space.label)
    let table = reservations.exposures
    table.gate.enter()
    defer { table.gate.leave() }
    let range = try reservations.take(
      at: iova, byteCount: bytes.count, alignment: Self.alignment(bytes.count, space.granuleByteCount),
      granule: space.granuleByteCount, upTo: .highest(addressBits: addressBits), in: label)
    let unit = pages.shares.pageByteCount
    let holder: PageShareHolder
    do throws(PageShareError) {
      holder = try pages.shares.share(
        bytes.lowerBound / unit..<(bytes.upperBound + unit - 1) / unit, by: label, at: range)
    } catch {
      reservations.giveBack(range)
      throw KernelError(error, of: pages.byteCount)
    }
    do throws(KernelError) {
      slot = try table.insert(
        ExposureTable.Entry(
          range: range, bytes: bytes, access: access, sharing: sharing, shares: pages.shares, holder: holder),
        in: label)
    } catch {
      Self.end(holder, of: pages.shares)
      reservations.giveBack(range)
      throw error
    }
    self.holder = holder
    self.pages = pages
    self.range = range
    self.space = space
    do throws(KernelError) {
      let base = unsafe pages.baseAddress + bytes.lowerBound
      try unsafe space.mapPages(base, to: range, access: access, sharing: sharing)
    } catch {
      // All is set, so that `deinit` runs: it must not unmap what was never mapped.
      isOver.store(true, ordering: .releasing)
      forget()
      throw error
    }
  }

  /// A whole huge page can only be one entry of the IOMMU's page table where the IOVA is aligned to it too.
  private static func alignment(_ byteCount: Int, _ granule: Int) -> Int {
    max(granule, byteCount >= 1 << 30 ? 1 << 30 : byteCount >= 1 << 21 ? 1 << 21 : granule)
  }

  /// Ends it.
  /// - Throws: `KernelError` for the unmap call. The pages are then parked: not usable, not reused, and
  ///   shared until the address space is gone.
  func end() throws(KernelError) {
    let table = space.reservations.exposures
    table.gate.enter()
    defer { table.gate.leave() }
    try endInside()
  }

  /// Ends it, where no other share of the memory lasts.
  /// - Throws: `KernelError`: `EBUSY`, naming the others; it is not ended then. Else as ``end()``.
  func endAsOnlyOne() throws(KernelError) {
    let table = space.reservations.exposures
    table.gate.enter()
    defer { table.gate.leave() }
    let own = table.isReached(slot) ? holder : nil
    do throws(PageShareError) {
      try pages.shares.checkUnshared(pages.allPages, besides: own)
    } catch {
      throw KernelError(error, of: pages.byteCount)
    }
    try endInside()
  }

  private func endInside() throws(KernelError) {
    precondition(!isOver.exchange(true, ordering: .acquiringAndReleasing), "an exposure ends once")
    let table = space.reservations.exposures
    if table.isReached(slot) {
      do throws(KernelError) {
        try space.unmapPages(range)
      } catch {
        table.park(slot)
        pages.shares.keep(holder, until: space)
        pages.park(in: space.reservations)
        throw error
      }
    }
    forget()
  }

  /// Undoes all but the mapping.
  private func forget() {
    let table = space.reservations.exposures
    // Where all exposures of the space were ended, this one's share was too.
    if table.remove(slot) { Self.end(holder, of: pages.shares) }
    space.reservations.giveBack(range)
  }

  private static func end(_ holder: PageShareHolder, of shares: PageShares) {
    do throws(PageShareError) {
      try shares.unshare(holder)
    } catch {
      preconditionFailure("an exposure's share was ended by somebody else: \(error)")
    }
  }

  deinit {
    guard !isOver.load(ordering: .acquiring) else { return }
    // A failure parks the pages; there is nobody to tell.
    _ = try? end()
  }
}
