// SPDX-License-Identifier: Apache-2.0
internal import CMMIO
internal import LinuxHandles
internal import SystemPackage

/// The fact that pages are mapped for the devices of one address space: made once, ended exactly once.
@usableFromInline
struct DMAExposure: ~Copyable, Sendable {
  let pages: MemoryPages
  let space: any AddressSpace
  private let table: ExposureTable
  /// Of the memory.
  private let bytes: Range<Int>
  /// What it took of the space's addresses.
  let range: IOVARange
  /// The device's address of the first byte; not the range's where no IOMMU translates.
  private(set) var busStart: IOVA
  private let slot: UInt32
  /// The table's, from before it was noted there.
  private let epoch: Int
  private var isOver = false

  /// Maps pages, and asks where the device finds them.
  /// - Parameter bytes: Of the memory; whole pages.
  static func make(
    of bytes: Range<Int>, of pages: consuming MemoryPages, in space: any AddressSpace, access: DMAAccess,
    sharing: DMASharing, at iova: IOVA?, addressBits: Int
  ) throws(KernelError) -> DMAExposure {
    var exposure = try DMAExposure(
      of: bytes, of: pages, in: space, access: access, sharing: sharing, at: iova, addressBits: addressBits)
    // Where it fails, the exposure ends as it goes; see "compiler bugs" in Safety.md for why it is a method.
    try exposure.findBusStart(asked: iova, addressBits: addressBits)
    return exposure
  }

  /// Takes addresses, notes who has them, counts the share and maps; what was done is undone, last first, where a
  /// step fails.
  @inline(__always)
  private init(
    of bytes: Range<Int>, of pages: consuming MemoryPages, in space: any AddressSpace, access: DMAAccess,
    sharing: DMASharing, at iova: IOVA?, addressBits: Int
  ) throws(KernelError) {
    precondition((1...64).contains(addressBits), "a device drives 1 to 64 address bits")
    let table = space.reservations.exposures
    let granule = space.granuleByteCount
    let request = IOVARequest(
      address: iova, byteCount: bytes.count, alignment: Self.alignment(bytes.count, granule),
      granule: granule,
      limit: .highest(addressBits: addressBits))
    guard UInt64(bytes.count) <= IOVAMap.greatestByteCount else { throw Self.tooLong(request, in: space) }
    table.gate.enter()
    defer { table.gate.leave() }
    let epoch = table.epoch
    let (range, slot): (IOVARange, UInt32)
    do throws(IOVAAllocator.Failure) {
      (range, slot) = try table.insert(request, of: bytes, access, sharing, pages.shares)
    } catch {
      throw request.refused(error, by: space.label, allowing: table.allowed)
    }
    do throws(PageShareError) {
      try pages.shares.shareExposed(bytes, in: table, of: space)
    } catch {
      table.remove(slot, range)
      throw KernelError(error, of: pages.byteCount)
    }
    do throws(KernelError) {
      let base = unsafe pages.baseAddress + bytes.lowerBound
      try unsafe space.mapPages(base, to: range, access: access, sharing: sharing)
    } catch {
      pages.shares.unshareExposed(bytes)
      table.remove(slot, range)
      throw error
    }
    self.pages = pages
    self.space = space
    self.table = table
    self.bytes = bytes
    self.range = range
    self.slot = slot
    self.epoch = epoch
    busStart = range.start
  }

  @inline(never)
  private static func tooLong(_ request: IOVARequest, in space: any AddressSpace) -> KernelError {
    KernelError(
      operation: "expose memory", errno: .invalidArgument,
      subject: "\(space.label), \(request.byteCount) bytes",
      remedy: "expose at most \(IOVAMap.greatestByteCount) bytes (16 TiB) at once")
  }

  @inline(__always)
  private mutating func findBusStart(asked iova: IOVA?, addressBits: Int) throws(KernelError) {
    let start = try space.busAddress(of: range)
    if start == range.start { return }
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
    busStart = start
  }

  /// A whole huge page can only be one entry of the IOMMU's page table where the IOVA is aligned to it too.
  private static func alignment(_ byteCount: Int, _ granule: Int) -> Int {
    max(granule, byteCount >= 1 << 30 ? 1 << 30 : byteCount >= 1 << 21 ? 1 << 21 : granule)
  }

  /// Makes what was written to the memory visible to the devices.
  func syncForDevice() {
    space.synchronize(range, .forDevice)
    cmmio_write_barrier()
  }

  /// Makes what the devices wrote visible in the memory.
  func syncForCPU() {
    cmmio_read_barrier()
    space.synchronize(range, .forCPU)
  }

  /// Ends it.
  /// - Throws: `KernelError` for the unmap call. The pages are then parked: not usable, not reused, and
  ///   shared until the address space is gone.
  mutating func end() throws(KernelError) {
    table.gate.enter()
    defer { table.gate.leave() }
    precondition(!isOver, "an exposure ends once")
    isOver = true
    try undo()
  }

  /// Ends it by an unmap call of the space, where no other share of the memory lasts.
  /// - Returns: The memory, which is its owner's alone.
  /// - Throws: `KernelError`: `EBUSY`, naming the others; it is not ended then. Else as ``end()``.
  @inline(never)
  mutating func endAsOnlyOne(
    unmapping unmap: (any AddressSpace, IOVARange) throws(KernelError) -> Void
  ) throws(KernelError) -> MemoryPages {
    table.gate.enter()
    defer { table.gate.leave() }
    let isReached = isReached
    do throws(PageShareError) {
      try pages.shares.checkUnshared(besides: isReached ? slot : nil, of: table)
    } catch {
      throw KernelError(error, of: pages.byteCount)
    }
    isOver = true
    try undo(isReached, unmapping: unmap)
    return pages
  }

  /// Whether devices reach the pages: not where all exposures of the space were ended.
  private var isReached: Bool { table.isReached(slot, since: epoch) }

  private func undo() throws(KernelError) {
    try undo(isReached) { space, range throws(KernelError) in try space.unmapPages(range) }
  }

  /// Undoes all, inside the gate.
  @inline(__always)
  private func undo(
    _ isReached: Bool,
    unmapping unmap: (any AddressSpace, IOVARange) throws(KernelError) -> Void
  ) throws(KernelError) {
    if isReached {
      do throws(KernelError) {
        try unmap(space, range)
      } catch {
        park()
        throw error
      }
      pages.shares.unshareExposed(bytes)
    }
    table.remove(slot, range)
  }

  /// The pages could not be unmapped.
  @inline(never)
  private func park() {
    pages.shares.keepExposed(bytes, by: "\(space.label), \(range)", until: space)
    table.park(slot)
    pages.park(in: space.reservations)
  }

  deinit {
    if isOver { return }
    table.gate.enter()
    defer { table.gate.leave() }
    // A failure parks the pages; there is nobody to tell.
    _ = try? undo()
  }
}
