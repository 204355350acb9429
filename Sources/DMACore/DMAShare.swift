// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import SystemPackage

/// A second address space's access to memory that is exposed already: a peer device's addresses of it.
///
/// The bytes are read and written through the ``DMAMemory`` that it is a share of. The memory stays mapped,
/// and its pages shared, until the share is ended too, whichever goes first.
public struct DMAShare: ~Copyable, Sendable {
  /// The length in bytes: whole pages.
  public let byteCount: Int
  /// The device's address of the share's first byte.
  public let iova: IOVA
  private var exposure: DMAExposure

  init(_ exposure: consuming DMAExposure, byteCount: Int) {
    self.byteCount = byteCount
    iova = exposure.busStart
    self.exposure = exposure
  }

  /// The device's address of a byte of this share.
  public borrowing func iova(at byteOffset: Int) -> IOVA {
    precondition(byteOffset >= 0 && byteOffset < byteCount, "a place inside the share")
    return IOVA(iova.rawValue &+ UInt64(byteOffset))
  }

  /// Makes what was written to the memory visible to this space's devices; before the doorbell.
  public borrowing func syncForDevice() { exposure.syncForDevice() }

  /// Makes what this space's devices wrote visible in the memory; after their completion.
  public borrowing func syncForCPU() { exposure.syncForCPU() }

  /// Takes the memory back from this address space.
  ///
  /// The caller has stopped its devices' use of it first.
  /// - Throws: `KernelError` for the unmap call. The pages are then parked: not reused while a device may
  ///   reach them.
  public consuming func unshare() throws(KernelError) { try exposure.end() }
}

extension DMAMemory {
  /// Lets the devices of a second address space reach this memory too.
  /// - Parameters:
  ///   - space: The other one. The same one again is allowed: it gets a second range of addresses.
  ///   - bytes: Which part, whole pages; nil for all.
  ///   - access: What its *devices* may do.
  ///   - sharing: Whether data changes hands at the share's sync calls or is seen at any time.
  ///   - iova: Where; nil lets the library choose.
  ///   - addressBits: How many address bits its devices drive.
  /// - Throws: `KernelError`: `EINVAL` for a part that is not of whole pages; else as
  ///   ``AddressSpace/expose(_:access:sharing:at:addressBits:)``. This memory stays as it was.
  public borrowing func share(
    with space: any AddressSpace, bytes: Range<Int>? = nil, access: DMAAccess,
    sharing: DMASharing = .streaming, at iova: IOVA? = nil, addressBits: Int = 64
  ) throws(KernelError) -> DMAShare {
    let part = bytes ?? 0..<byteCount
    try checkPart(part, sharedWith: space)
    let exposure = try DMAExposure.make(
      of: part, of: exposure.pages, in: space, access: access, sharing: sharing, at: iova,
      addressBits: addressBits)
    return DMAShare(exposure, byteCount: part.count)
  }

  /// Refuses a part that is not of whole pages inside the memory.
  borrowing func checkPart(_ part: Range<Int>, sharedWith space: any AddressSpace) throws(KernelError) {
    let unit = max(MemoryPageSize.standard.byteCount, space.granuleByteCount)
    guard !part.isEmpty, part.lowerBound >= 0, part.upperBound <= byteCount,
      part.lowerBound % unit == 0, part.count % unit == 0
    else {
      throw KernelError(
        operation: "share pages", errno: .invalidArgument, subject: "bytes \(part) of \(byteCount)",
        remedy: "share whole pages of \(unit) bytes, inside the memory")
    }
  }

  /// Who reaches this memory, this exposure included.
  public var shares: PageShares { exposure.pages.shares }
}
