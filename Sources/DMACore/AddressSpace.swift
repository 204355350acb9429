// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// An I/O address space: what a device's addresses mean.
///
/// An IOAS, a VFIO container, a simulation.
///
/// All members may be called from any thread.
public protocol AddressSpace: AnyObject, Sendable {
  /// For messages: `"IOAS 2"`.
  ///
  /// A stored property: every exposure asks for it, to name its holder later.
  var label: String { get }
  /// The smallest unit that can be mapped, in bytes; a power of two, never below the page size.
  var granuleByteCount: Int { get }
  /// What is handed out of this space.
  var reservations: IOVAReservations { get }

  /// Lets devices reach pages of this process at a range of addresses.
  ///
  /// Called by ``expose(_:access:sharing:at:addressBits:)``, which owns the pages and the range.
  /// - Parameters:
  ///   - base: Page aligned; stays mapped in this process until `unmapPages` of the same range succeeded.
  ///   - range: Of the pages' whole length; taken from `reservations`.
  @unsafe
  func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError)

  /// Ends what `mapPages` did for exactly this range; when it returns no device reaches the pages.
  func unmapPages(_ range: IOVARange) throws(KernelError)

  /// Ends all mappings at once.
  ///
  /// Called by ``endAllExposures()``, which keeps the ledger.
  /// - Returns: How many bytes were mapped; nil where there is no such call: each range is then unmapped.
  func unmapAllPages() throws(KernelError) -> UInt64?

  /// The address that a device puts on the bus for what `mapPages` mapped at a range: behind an IOMMU its start.
  ///
  /// Without one it is where the pages lie in physical memory, which is known only now.
  /// - Throws: `KernelError`: `EINVAL` where they do not lie in one piece, which a device could not know.
  func busAddress(of range: IOVARange) throws(KernelError) -> IOVA

  /// Makes bytes of a streaming mapping visible to one side. Nothing to do where both see one memory.
  func synchronize(_ range: IOVARange, _ direction: DMASyncDirection)

  /// How many further mappings there may be, at this moment.
  /// - Throws: `KernelError` for the question.
  func mappingBudget() throws(KernelError) -> MappingBudget
}

extension AddressSpace {
  /// An IOMMU translates the range itself.
  public func busAddress(of range: IOVARange) throws(KernelError) -> IOVA { range.start }

  /// Both sides see one memory: the case of every IOMMU mapping of cached memory.
  public func synchronize(_ range: IOVARange, _ direction: DMASyncDirection) {}

  /// There is no call for it.
  public func unmapAllPages() throws(KernelError) -> UInt64? { nil }

  /// No limit: the case of iommufd.
  public func mappingBudget() throws(KernelError) -> MappingBudget {
    MappingBudget(available: nil, used: reservations.exposures.count)
  }

  /// Lets a device reach memory.
  /// - Parameters:
  ///   - memory: Consumed; ``DMAMemory/reclaim()`` gives it back once unmapped.
  ///   - access: What the *device* may do.
  ///   - sharing: Whether data changes hands at the sync calls or is seen at any time.
  ///   - iova: Where; nil lets the library choose from the allowed ranges.
  ///   - addressBits: How many address bits the device drives (edu: 28; many: 32, 48, 64).
  /// - Returns: Memory whose `iova` is valid until it is reclaimed or dropped.
  /// - Throws: `KernelError`: `ENOSPC` no free IOVA, `EEXIST` fixed range taken, `EINVAL` outside the allowed
  ///   ranges, beyond the device's address bits, not a multiple of the granule, or, without an IOMMU, in more
  ///   than one piece; `ENOMEM` over the limit of locked memory (the remedy has the numbers). The memory is freed.
  public func expose(
    _ memory: consuming UnsharedMemory, access: DMAAccess, sharing: DMASharing = .streaming,
    at iova: IOVA? = nil, addressBits: Int = 64
  ) throws(KernelError) -> DMAMemory {
    let pages = memory.intoPages()
    let (base, byteCount) = unsafe (pages.baseAddress, pages.byteCount)
    let exposure = try DMAExposure.make(
      of: 0..<byteCount, of: pages, in: self, access: access, sharing: sharing, at: iova,
      addressBits: addressBits)
    return unsafe DMAMemory(exposure, at: base, byteCount: byteCount)
  }
}
