// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import SystemPackage

// Exposures: whole pages of the upper window, whose addresses `reservations` hands out.
extension IOTLBDomain {
  /// The page of the table.
  public var granuleByteCount: Int { SlotTable.pageByteCount }

  /// Allocates memory that both sides see at any time: rings, queues.
  /// - Parameter byteCount: Rounded up to whole pages; at least 1.
  /// - Returns: Zeroed memory; ``freeCoherent(_:)`` ends it.
  /// - Throws: `KernelError` as `UnsharedMemory.init(byteCount:)` and ``AddressSpace/expose(_:access:sharing:at:addressBits:)``.
  public func allocCoherent(byteCount: Int) throws(KernelError) -> DMAMemory {
    try expose(UnsharedMemory(byteCount: byteCount), access: .readWrite, sharing: .coherent)
  }

  /// Takes coherent memory back from the device and frees it.
  /// - Throws: `KernelError` as `DMAMemory.reclaim()`.
  public func freeCoherent(_ memory: consuming DMAMemory) throws(KernelError) { _ = try memory.reclaim() }

  /// Gives pages of this process an address.
  ///
  /// Streaming pages are copied at the sync calls, not here. Coherent pages are moved: from here to `unmapPages` the
  /// addresses of this process lead to the domain's file, and afterwards to ordinary pages; descriptors that
  /// somebody has of a file that was there before lead to other bytes.
  /// - Throws: `KernelError`: `EINVAL` outside the upper window; `EEXIST` where something is mapped; `EBUSY` for
  ///   coherent pages that another address space reaches, whose devices would not see the move; for `mmap` or `madvise`.
  @unsafe
  public func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    guard let slot = Self.slot(range, access), layout.stayingRange.contains(range) else {
      throw refusal("map", range, .invalidArgument, "map whole pages of \(layout.stayingRange)")
    }
    guard !isAnythingMapped(in: range) else {
      throw refusal("map", range, .fileExists, "it is mapped already")
    }
    let table = memory.table
    guard sharing == .coherent else {
      return unsafe table.begin(slot, 0, base, isCopied: false)
    }
    try requireAlone("map", range)
    unsafe table.place(range.start).copyMemory(from: base, byteCount: slot.byteCount)
    do throws(KernelError) {
      try unsafe file.map(at: range.start.rawValue, over: base, byteCount: slot.byteCount)
    } catch {
      // Whichever of its calls failed: the pages are the owner's own again.
      try? unsafe restore(base, slot)
      memory.empty(range)
      throw error
    }
    unsafe table.begin(slot, 0, base, isCopied: false, kind: SlotTable.coherentBit)
  }

  /// Takes the address away.
  /// - Throws: `KernelError`: `ENOENT` where nothing is mapped at exactly this range; `EBUSY` for coherent pages that
  ///   another address space reaches too; for `mmap` or `madvise`.
  public func unmapPages(_ range: IOVARange) throws(KernelError) {
    let table = memory.table
    guard layout.stayingRange.contains(range), let (slot, isCoherent) = table.slot(at: range.start),
      slot.iova == range.start, UInt64(slot.byteCount) - 1 == range.byteCountMinusOne
    else {
      throw refusal("unmap", range, .noSuchFileOrDirectory, "nothing is mapped at exactly this range")
    }
    if isCoherent {
      try requireAlone("unmap", range)
      try unsafe restore(table.buffer(ofPage: range.start.rawValue >> SlotTable.pageShift), slot)
    }
    table.forget(range, isEmptied: true)
    memory.empty(range)
  }

  /// Copies a part of a streaming exposure: to the device's side where the device may read, from it where it may write.
  public func synchronize(_ range: IOVARange, _ direction: DMASyncDirection) {
    guard let (slot, isCoherent) = memory.table.slot(at: range.start), !isCoherent else { return }
    let start = Int(range.start.rawValue - slot.iova.rawValue)
    let count = Int(range.byteCountMinusOne) + 1
    precondition(start + count <= slot.byteCount, "memory is synchronized inside one mapping")
    switch direction {
    case .forDevice: if slot.direction.isToDevice { memory.table.copyIn(slot, start, count) }
    case .forCPU: if slot.direction.isFromDevice { memory.table.copyOut(slot, start, count) }
    }
  }

  // MARK: Parts

  private static func slot(_ range: IOVARange, _ access: DMAAccess) -> BounceSlot? {
    let mask = UInt64(SlotTable.offsetMask)
    guard let direction = DMADirection(rawValue: access.rawValue), range.start.rawValue & mask == 0,
      range.last.rawValue & mask == mask
    else { return nil }
    return BounceSlot(
      iova: range.start, byteCount: Int(range.byteCountMinusOne) + 1, direction: direction)
  }

  private func isAnythingMapped(in range: IOVARange) -> Bool {
    stride(from: range.start.rawValue, through: range.last.rawValue, by: SlotTable.pageByteCount)
      .contains { memory.table.slot(at: IOVA($0)) != nil }
  }

  /// Refuses pages that are reached by other exposures: what these have would not be what is at the addresses.
  private func requireAlone(_ operation: String, _ range: IOVARange) throws(KernelError) {
    guard let exposed = exposure(at: range.start) else { return }
    let unit = exposed.shares.pageByteCount
    let pages = exposed.bytes.lowerBound / unit...(exposed.bytes.upperBound - 1) / unit
    guard pages.contains(where: { exposed.shares.count(ofPage: $0) > 1 }) else { return }
    throw refusal(
      operation, range, .resourceBusy,
      "coherent memory has one address; other address spaces reach these pages, expose them as streaming")
  }

  /// Puts ordinary pages with the same bytes in the place of the file's.
  @unsafe
  private func restore(_ base: UnsafeMutableRawPointer, _ slot: BounceSlot) throws(KernelError) {
    let count = UInt64(slot.byteCount)
    try kernelCall("mmap", on: "\(count) bytes of memory") {
      unsafe abi_mmap(
        base, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
    }
    unsafe base.copyMemory(from: memory.table.place(slot.iova), byteCount: slot.byteCount)
    try kernelCall("madvise", on: "\(count) bytes, MADV_DONTFORK") {
      unsafe abi_madvise(base, count, MADV_DONTFORK)
    }
  }

  private func refusal(
    _ operation: String, _ range: IOVARange, _ errno: Errno, _ remedy: String
  ) -> KernelError {
    KernelError(operation: operation, errno: errno, subject: "\(label), \(range)", remedy: remedy)
  }
}
