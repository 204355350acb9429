// SPDX-License-Identifier: Apache-2.0
internal import CMMIO
internal import LinuxHandles
internal import SystemPackage

/// The fact that pages are mapped for the devices of one address space: made once, ended exactly once.
@usableFromInline
struct DMAExposure: ~Copyable, Sendable {
  /// Nil once it has ended.
  private var held: MemoryPages?
  let space: any AddressSpace
  /// The space's, which know it.
  private let reservations: IOVAReservations
  /// Of the memory.
  private let bytes: Range<Int>
  private let note: ExposureNote
  /// The device's address of the first byte; not the range's where no IOMMU translates.
  private(set) var busStart: IOVA

  /// Maps pages, and asks where the device finds them.
  /// - Parameter bytes: Of the memory; whole pages.
  @inline(__always)
  static func make(
    of bytes: Range<Int>, of pages: consuming MemoryPages, in space: any AddressSpace, access: DMAAccess,
    sharing: DMASharing, at iova: IOVA?, addressBits: Int
  ) throws(KernelError) -> DMAExposure {
    var exposure = try DMAExposure(
      of: bytes, of: pages, in: space, access: access, sharing: sharing, at: iova, addressBits: addressBits)
    // Where it fails, the exposure ends as it goes; see "compiler bugs" in Safety.md for why it is a method.
    try exposure.findBusStart(in: space, asked: iova, addressBits: addressBits)
    return exposure
  }

  @inline(__always)
  private init(
    of bytes: Range<Int>, of pages: consuming MemoryPages, in space: any AddressSpace, access: DMAAccess,
    sharing: DMASharing, at iova: IOVA?, addressBits: Int
  ) throws(KernelError) {
    let reservations = space.reservations
    note = try reservations.begin(
      bytes, of: pages, in: space, access: access, sharing: sharing, at: iova, addressBits: addressBits)
    held = pages
    self.space = space
    self.reservations = reservations
    self.bytes = bytes
    busStart = note.range.start
  }

  /// The memory, until the exposure ends.
  var pages: MemoryPages {
    guard let held else { preconditionFailure("an exposure that has ended") }
    return held
  }

  /// What it took of the space's addresses.
  var range: IOVARange { note.range }

  @inline(__always)
  private mutating func findBusStart(
    in space: any AddressSpace, asked iova: IOVA?, addressBits: Int
  ) throws(KernelError) {
    let start = try space.busAddress(of: range)
    if _slowPath(start != range.start) { try setBusStart(start, asked: iova, addressBits: addressBits) }
  }

  @inline(never)
  private mutating func setBusStart(
    _ start: IOVA, asked iova: IOVA?, addressBits: Int
  ) throws(KernelError) {
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
    guard let pages = held.take() else { preconditionFailure("an exposure ends once") }
    try reservations.end(note, bytes, of: pages, in: space)
  }

  /// Ends it by an unmap call of the space, where no other share of the memory lasts.
  /// - Returns: The memory, which is its owner's alone.
  /// - Throws: `KernelError`: `EBUSY`, naming the others; it is ended all the same. Else as ``end()``.
  @inline(__always)
  mutating func endAsOnlyOne(
    unmapping unmap: (any AddressSpace, IOVARange) throws(KernelError) -> Void
  ) throws(KernelError) -> MemoryPages {
    guard let pages = held.take() else { preconditionFailure("an exposure ends once") }
    try reservations.endAsOnlyOne(note, bytes, of: pages, in: space, unmapping: unmap)
    return pages
  }

  deinit {
    // A failure parks the pages; there is nobody to tell.
    if let held { _ = try? reservations.end(note, bytes, of: held, in: space) }
  }
}
