// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// The fact that pages are mapped for the devices of one address space: made once, ended exactly once.
@safe @usableFromInline
final class DMAExposure: @unchecked Sendable {
  let pages: MemoryPages
  let holder: PageShareHolder
  /// What it took of the space's addresses.
  let range: IOVARange
  /// The device's address of the first byte; not the range's where no IOMMU translates.
  let busStart: IOVA
  let space: any AddressSpace
  private let isOver = Atomic<Bool>(false)

  /// Takes addresses, counts the share and maps; what was done is undone, last first, where a step fails.
  /// - Parameter bytes: Of the memory; whole pages.
  init(
    of bytes: Range<Int>, of pages: MemoryPages, in space: any AddressSpace, access: DMAAccess,
    sharing: DMASharing, at iova: IOVA?, addressBits: Int
  ) throws(KernelError) {
    precondition((1...64).contains(addressBits), "a device drives 1 to 64 address bits")
    let granule = space.granuleByteCount
    // A whole huge page can only be one entry of the IOMMU's page table where the IOVA is aligned to it too.
    let alignment = max(granule, bytes.count >= 1 << 21 ? 1 << 21 : granule)
    let range = try space.reservations.take(
      at: iova, byteCount: bytes.count, alignment: alignment, granule: granule,
      upTo: .highest(addressBits: addressBits), in: space.label)
    let unit = pages.shares.pageByteCount
    let first = bytes.lowerBound / unit
    do throws(PageShareError) {
      holder = try pages.shares.share(
        first..<first + (bytes.count + unit - 1) / unit, by: "\(space.label), \(range)")
    } catch {
      space.reservations.giveBack(range)
      throw KernelError(error, of: pages.byteCount)
    }
    self.pages = pages
    self.range = range
    self.space = space
    do throws(KernelError) {
      let base = unsafe pages.baseAddress + bytes.lowerBound
      try unsafe space.mapPages(base, to: range, access: access, sharing: sharing)
    } catch {
      // All is set, so that `deinit` runs: it must not unmap what was never mapped.
      busStart = range.start
      isOver.store(true, ordering: .releasing)
      endShare()
      space.reservations.giveBack(range)
      throw error
    }
    let start: IOVA
    do throws(KernelError) {
      start = try Self.busStart(of: range, in: space, asked: iova, addressBits: addressBits)
    } catch {
      // Again all is set, and `deinit` unmaps.
      busStart = range.start
      throw error
    }
    busStart = start
  }

  private static func busStart(
    of range: IOVARange, in space: any AddressSpace, asked iova: IOVA?, addressBits: Int
  ) throws(KernelError) -> IOVA {
    let start = try space.busAddress(of: range)
    if start == range.start { return start }
    let (last, isBeyond) = start.rawValue.addingReportingOverflow(range.byteCountMinusOne)
    guard !isBeyond, last <= IOVA.highest(addressBits: addressBits).rawValue else {
      throw KernelError(
        operation: "expose", errno: .invalidArgument, subject: "\(space.label), physical address \(start)",
        remedy: "the device drives \(addressBits) address bits, and without an IOMMU nothing can bring the "
          + "memory lower; it takes an IOMMU, or bounce buffers in low memory")
    }
    guard iova == nil || iova == start else {
      throw KernelError(
        operation: "expose", errno: .invalidArgument, subject: "\(space.label), physical address \(start)",
        remedy: "without an IOMMU the address is the memory's own; ask for none")
    }
    return start
  }

  /// - Throws: `KernelError` for the unmap call. The pages are then parked: not usable, not reused, and
  ///   shared until the address space is gone.
  func end() throws(KernelError) {
    try end { range throws(KernelError) in try space.unmapPages(range) }
  }

  func end(unmapping unmap: (IOVARange) throws(KernelError) -> Void) throws(KernelError) {
    precondition(!isOver.exchange(true, ordering: .acquiringAndReleasing), "an exposure ends once")
    do throws(KernelError) {
      try unmap(range)
    } catch {
      pages.shares.keep(holder, until: space)
      pages.park(in: space.reservations)
      throw error
    }
    endShare()
    space.reservations.giveBack(range)
  }

  private func endShare() {
    do throws(PageShareError) {
      try pages.shares.unshare(holder)
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
