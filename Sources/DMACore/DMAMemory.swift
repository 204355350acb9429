// SPDX-License-Identifier: Apache-2.0
public import CMMIO
public import DeviceRegisters
public import LinuxHandles

/// When a load or store of shared memory happens, as the device sees it.
public enum DMAOrdering: Sendable {
  /// Only the access itself is certain.
  case relaxed
  /// What follows is read after it: for the flag that a device sets last.
  case acquiring
  /// What precedes is visible before it: for the flag that a device reads first.
  case releasing
}

/// Memory that a device can reach: the bytes, and their address on the bus.
///
/// The device may change it at any time, so there is no span of it: scalars are read and written once each,
/// and bulk data is copied. When a value goes, the memory is unmapped from the device first; where that
/// fails, the pages are parked until the whole address space is gone and never reused before.
///
/// Several threads may use it; like the device, they are ordered only by barriers and registers.
@safe @frozen
public struct DMAMemory: ~Copyable, @unchecked Sendable {
  @usableFromInline let baseAddress: UnsafeMutableRawPointer
  /// The length in bytes: whole pages.
  public let byteCount: Int
  /// The device's address of the first byte.
  public let iova: IOVA
  var exposure: DMAExposure

  /// - Parameters:
  ///   - exposure: Of all its memory.
  ///   - base: Of that memory, as its length.
  @unsafe @inline(__always)
  init(_ exposure: consuming DMAExposure, at base: UnsafeMutableRawPointer, byteCount: Int) {
    unsafe baseAddress = base
    self.byteCount = byteCount
    iova = exposure.busStart
    self.exposure = exposure
  }

  /// The device's address of a byte of this memory.
  @inlinable
  public borrowing func iova(at byteOffset: Int) -> IOVA {
    precondition(byteOffset >= 0 && byteOffset < byteCount, "a place inside the memory")
    return IOVA(iova.rawValue &+ UInt64(byteOffset))
  }

  /// Reads one scalar, once.
  /// - Parameter byteOffset: In bytes; a multiple of the scalar's width.
  @inlinable
  public borrowing func load<Word: RegisterWord>(
    _ type: Word.Type, at byteOffset: Int, ordering: DMAOrdering = .relaxed
  ) -> Word {
    checkPlace(byteOffset, MemoryLayout<Word>.size)
    // SAFETY: in bounds and aligned, checked above; only a scalar is formed.
    let value = unsafe Word.volatileLoad(baseAddress + byteOffset)
    if ordering == .acquiring { cmmio_read_barrier() }
    return value
  }

  /// Writes one scalar, once.
  /// - Parameter byteOffset: In bytes; a multiple of the scalar's width.
  @inlinable
  public borrowing func store<Word: RegisterWord>(
    _ value: Word, at byteOffset: Int, ordering: DMAOrdering = .relaxed
  ) {
    checkPlace(byteOffset, MemoryLayout<Word>.size)
    if ordering == .releasing { cmmio_write_barrier() }
    // SAFETY: as in load(_:at:ordering:).
    unsafe Word.volatileStore(value, baseAddress + byteOffset)
  }

  @inlinable
  borrowing func checkPlace(_ byteOffset: Int, _ width: Int) {
    precondition(
      byteOffset >= 0 && byteOffset <= byteCount &- width && byteOffset & (width &- 1) == 0,
      "a multiple of the scalar's width, inside the memory")
  }

  /// Copies bytes in.
  ///
  /// The device must not be reading them meanwhile.
  public borrowing func copyIn(_ source: RawSpan, at byteOffset: Int = 0) {
    let count = source.byteCount
    precondition(byteOffset >= 0 && byteOffset <= byteCount - count, "the copy lies inside the memory")
    // SAFETY: in bounds; the source is another, valid span.
    unsafe source.withUnsafeBytes { bytes in
      if let start = bytes.baseAddress {
        unsafe (baseAddress + byteOffset).copyMemory(from: start, byteCount: count)
      }
    }
  }

  /// Copies bytes out.
  ///
  /// The device must not be writing them meanwhile.
  public borrowing func copyOut(at byteOffset: Int = 0, into target: inout MutableRawSpan) {
    let count = target.byteCount
    precondition(byteOffset >= 0 && byteOffset <= byteCount - count, "the copy lies inside the memory")
    // SAFETY: in bounds; the target is another, exclusive span.
    unsafe target.withUnsafeMutableBytes { bytes in
      unsafe bytes.baseAddress?.copyMemory(from: baseAddress + byteOffset, byteCount: count)
    }
  }

  /// Makes what was written here visible to the device; before the doorbell.
  public borrowing func syncForDevice() { exposure.syncForDevice() }

  /// Makes what the device wrote visible here; after its completion.
  public borrowing func syncForCPU() { exposure.syncForCPU() }

  /// Makes a part visible to one side.
  borrowing func sync(_ byteOffset: Int, _ byteCount: Int, _ direction: DMASyncDirection) {
    let range = IOVARange(start: iova(at: byteOffset), last: iova(at: byteOffset + byteCount - 1))
    if direction == .forCPU { cmmio_read_barrier() }
    exposure.space.synchronize(range, direction)
    if direction == .forDevice { cmmio_write_barrier() }
  }

  /// Takes the memory back from the device.
  ///
  /// The caller has stopped the device's use of it first.
  /// - Throws: `KernelError`: `EBUSY` while a ``DMAShare`` lasts, naming the address spaces that hold it: this
  ///   exposure ends, and the memory is freed when the last of them does. Else for the unmap call: the pages
  ///   are then parked, not usable and not reused. ``PageShares/listing`` of ``shares`` tells beforehand.
  public consuming func reclaim() throws(KernelError) -> UnsharedMemory {
    UnsharedMemory(
      try exposure.endAsOnlyOne { space, range throws(KernelError) in try space.unmapPages(range) })
  }

  /// The same by another unmap call of the same address space, which tells more.
  package consuming func reclaim(
    unmapping unmap: (IOVARange) throws(KernelError) -> Void
  ) throws(KernelError) -> UnsharedMemory {
    UnsharedMemory(try exposure.endAsOnlyOne { _, range throws(KernelError) in try unmap(range) })
  }

  /// Whose addresses it has.
  package var space: any AddressSpace { exposure.space }

  /// Where the pages lie in physical memory at this moment, in the order of the memory.
  ///
  /// What keeps them there is the business of the address space; see its documentation.
  /// - Throws: `KernelError` for `/proc/self/pagemap`: `EPERM` without CAP_SYS_ADMIN, `EFAULT` for a page that was
  ///   never touched.
  public borrowing func physicalRuns() throws(KernelError) -> [PhysicalRun] {
    try unsafe PageMap().runs(of: baseAddress, byteCount: byteCount)
  }
}
