// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// A software IOTLB: an address space for devices with no IOMMU, whose memory is one file.
///
/// It treats an I/O virtual address as a place in the file. A device's process, or a device that is software in
/// this one (``IOTLBView``), maps the file and finds what was mapped at its addresses; nothing else of this process
/// is in it. There are two windows (``IOTLBLayout``):
/// - The lower one has *streaming* mappings of any bytes: ``map(_:_:at:)`` copies them to bounce pages and
///   ``unmap(_:)`` from them, as the direction says, and ``syncForDevice(_:_:)`` and ``syncForCPU(_:_:)`` between.
///   Pages get memory when they are first used, and keep it.
/// - The upper one has what stays: ``allocCoherent(byteCount:)``, and what is exposed through
///   ``AddressSpace``, whole pages. Coherent memory is the file's own pages; streaming memory is copied at its
///   sync calls. Their pages go back to the kernel, and are zero again, when the exposure ends.
///
/// It protects this process from the device's side, which reaches the file and no more. It is no protection from a
/// real device: that one puts physical addresses on the bus, and knows nothing of this table.
///
/// All members may be called from any thread; streaming mappings are made one at a time. A thread that makes many
/// takes a window of its own: ``lendWindow(byteCount:)``.
public final class IOTLBDomain: AddressSpace {
  /// For messages.
  public let label: String
  let memory: IOTLBMemory
  private let window: Mutex<Window>
  /// What ``setMap(_:)`` set.
  let chosen = Mutex<[IOTLBEntry]>([])
  /// The upper window.
  ///
  /// Declared after the memory: parked pages go last.
  public let reservations: IOVAReservations

  struct Window: ~Copyable {
    var slots: BounceWindow
    var lent: [IOVARange] = []

    /// Refuses slots of windows that are lent: they are others' alone.
    func check(_ slot: BounceSlot) throws(IOTLBError) {
      guard !lent.isEmpty, lent.contains(where: { $0.start <= slot.iova && slot.iova <= $0.last }) else {
        return
      }
      throw IOTLBError(.notMapped, slot.iova, slot.byteCount)
    }
  }

  /// Makes a domain with nothing mapped.
  /// - Parameter label: For messages, and the name of the file as `/proc/self/maps` shows it.
  /// - Throws: `KernelError`: `EINVAL` for a layout that is not of whole pages, or longer than 16 TiB; for
  ///   `memfd_create`, `ftruncate`, `fcntl`, `mmap` or `madvise`.
  public init(_ layout: IOTLBLayout = .usual, label: String = "software IOTLB") throws(KernelError) {
    let memory = try IOTLBMemory(layout, named: label)
    self.memory = memory
    self.label = label
    window = Mutex(Window(slots: BounceWindow(layout.bounceRange, of: memory)))
    reservations = IOVAReservations(allowed: [layout.stayingRange])
  }

  /// Its two windows.
  public var layout: IOTLBLayout { memory.layout }

  /// The file of all its pages: the one at an address is at the same place in the file.
  public var file: IOTLBFile { memory.file }

  // MARK: Streaming mappings

  /// Lets the device reach a buffer; see ``BounceWindow/map(_:_:at:)``.
  @unsafe
  public func map(
    _ buffer: UnsafeMutableRawBufferPointer, _ direction: DMADirection, at iova: IOVA? = nil
  ) throws(IOTLBError) -> BounceSlot {
    try window.withLock { window throws(IOTLBError) in
      return try unsafe window.slots.map(buffer, direction, at: iova)
    }
  }

  /// Ends a mapping; see ``BounceWindow/unmap(_:)``.
  public func unmap(_ slot: BounceSlot) throws(IOTLBError) {
    try window.withLock { window throws(IOTLBError) in
      try window.check(slot)
      try window.slots.unmap(slot)
    }
  }

  /// Copies for the device; see ``BounceWindow/syncForDevice(_:_:)``.
  public func syncForDevice(_ slot: BounceSlot, _ bytes: Range<Int>? = nil) throws(IOTLBError) {
    try window.withLock { window throws(IOTLBError) in
      try window.check(slot)
      try window.slots.syncForDevice(slot, bytes)
    }
  }

  /// Copies from the device; see ``BounceWindow/syncForCPU(_:_:)``.
  public func syncForCPU(_ slot: BounceSlot, _ bytes: Range<Int>? = nil) throws(IOTLBError) {
    try window.withLock { window throws(IOTLBError) in
      try window.check(slot)
      try window.slots.syncForCPU(slot, bytes)
    }
  }

  // MARK: Windows

  /// Lends a part of the streaming window to one owner, who needs no lock.
  /// - Parameter byteCount: Of addresses; whole pages.
  /// - Returns: A window; what is mapped in it ends when it goes.
  /// - Throws: `KernelError`: `ENOSPC` where so much is not free in one piece; `EINVAL` for a part of a page.
  public func lendWindow(byteCount: Int) throws(KernelError) -> BounceWindow {
    guard byteCount > 0, byteCount & SlotTable.offsetMask == 0 else {
      throw KernelError(
        operation: "lend window", errno: .invalidArgument, subject: "\(label), \(byteCount) bytes",
        remedy: "ask for whole pages of \(SlotTable.pageByteCount) bytes")
    }
    let range = window.withLock { window -> IOVARange? in
      let range = try? window.slots.allocator.allocate(
        byteCount: UInt64(byteCount), alignment: UInt64(SlotTable.pageByteCount))
      guard let range else { return nil }
      window.lent.append(range)
      return range
    }
    guard let range else {
      throw KernelError(
        operation: "lend window", errno: .noSpace, subject: "\(label), \(byteCount) bytes",
        remedy: "the streaming window has \(layout.bounceByteCount) bytes; make the domain with more")
    }
    return BounceWindow(range, of: memory, lease: WindowLease(range, of: self))
  }

  func takeBack(_ range: IOVARange) {
    memory.table.forget(range, isEmptied: false)
    window.withLock { window in
      window.lent.removeAll { $0 == range }
      do throws(IOVAAllocator.Failure) {
        try window.slots.allocator.deallocate(range)
      } catch {
        preconditionFailure("a window is lent once: \(error)")
      }
    }
  }

  /// Ends all streaming mappings without copying, and gives their pages back to the kernel: for a device that was
  /// reset.
  ///
  /// Slots that are unmapped later are `notMapped` then.
  /// - Throws: `KernelError`: `EBUSY` while a window is lent; nothing changes then.
  public func resetBounceMap() throws(KernelError) {
    try window.withLock { window throws(KernelError) in
      guard window.lent.isEmpty else {
        throw KernelError(
          operation: "reset bounce map", errno: .resourceBusy, subject: label,
          remedy: "\(window.lent.count) windows are lent; let them go first")
      }
      memory.table.forget(layout.bounceRange, isEmptied: true)
      memory.empty(layout.bounceRange)
      window.slots = BounceWindow(layout.bounceRange, of: memory)
    }
  }
}
