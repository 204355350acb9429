// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// A container of IOMMU groups that share one address space: `/dev/vfio/vfio`, or iommufd's imitation.
///
/// Its IOMMU is set when the first group joins; until then no address may be used. With the last group that
/// leaves, the kernel ends all mappings.
///
/// Without an IOMMU (``VFIOMode/noIOMMU``) the device's addresses are physical ones: memory must lie in one piece, a
/// page or huge pages. It is locked, which keeps it in memory but does not pin it: compaction, khugepaged and
/// NUMA balancing may still move a page, and the device would then reach another one. Reserved huge pages are left
/// alone by the first two. ``unmapPages(_:)`` tells when it happened, which is too late.
/// - Source: Documentation/driver-api/vfio.rst; include/uapi/linux/vfio.h, Linux 3.6.
public final class VFIOContainer: AddressSpace {
  /// By which interface, and which version of the type 1 IOMMU.
  public let mode: VFIOMode
  /// For messages.
  public let label: String
  private let owned: OwnedDescriptor
  /// Addresses handed out.
  ///
  /// Declared after the descriptor: its close ends all mappings, and only then may parked memory go.
  public let reservations = IOVAReservations(allowed: [])
  private let lockedPages: LockedPages?
  private let membership = Mutex(Membership())
  /// Whether groups left it once, all of them: what was mapped before is mapped no more.
  private let wasDeserted = Atomic<Bool>(false)

  private struct Membership {
    var groupCount = 0
    var tracksDirtyPages = false
  }

  /// Opens a container without groups.
  /// - Throws: `KernelError` for `open`, `VFIO_GET_API_VERSION` or `VFIO_CHECK_EXTENSION`: the remedy says
  ///   which module is missing, or which switch is off.
  public init(mode: VFIOMode) throws(KernelError) {
    precondition(mode.usesGroup, "a device's own node has no container")
    self.mode = mode
    let path = mode.nodePath
    do throws(KernelError) {
      owned = try OwnedDescriptor.open(path, for: .readWrite)
    } catch {
      throw error.advising(Self.remedy(for: error.errno, opening: path))
    }
    let fd = owned.rawValue
    label = "container (\(mode.rawValue), fd \(fd))"
    let version = try kernelCall("VFIO_GET_API_VERSION", on: path) { abi_vfio_get_api_version(fd) }
    guard version == ABI_VFIO_API_VERSION else {
      throw KernelError(
        operation: "VFIO_GET_API_VERSION", errno: .notSupported, subject: path,
        remedy: "the kernel speaks VFIO API \(version); this library speaks \(ABI_VFIO_API_VERSION)")
    }
    // A group must join before the kernel can answer for an IOMMU driver, but it knows at once which
    // drivers are loaded.
    let type = mode.iommuType.rawValue
    let isOffered = try kernelCall("VFIO_CHECK_EXTENSION", on: "\(path), \(mode.rawValue)") {
      let result = abi_vfio_check_extension(fd, type)
      // The imitation has no address space yet and says so; it always offers both versions.
      return result == -Errno.operationNotSupportedByDevice.rawValue ? 1 : result
    }
    guard isOffered > 0 else {
      throw KernelError(
        operation: "VFIO_CHECK_EXTENSION", errno: .notSupported, subject: "\(path), \(mode.rawValue)",
        remedy: mode.isWithoutIOMMU
          ? NoIOMMUSwitch.remedy : "load the IOMMU driver of VFIO: modprobe vfio_iommu_type1")
    }
    lockedPages = mode.isWithoutIOMMU ? try LockedPages() : nil
  }

  /// Takes over a container that another process opened, gave an IOMMU and filled with groups.
  ///
  /// What is mapped there already is not known here: choosing an address may end in `EEXIST`.
  /// - Throws: `KernelError` for `VFIO_IOMMU_GET_INFO`.
  public init(adopting descriptor: consuming OwnedDescriptor, mode: VFIOMode) throws(KernelError) {
    precondition(mode.usesGroup, "iommufd's own mode has no container")
    self.mode = mode
    label = "container (\(mode.rawValue), fd \(descriptor.rawValue))"
    owned = descriptor
    lockedPages = mode.isWithoutIOMMU ? try LockedPages() : nil
    // The other process's groups never leave as far as this one knows.
    membership.withLock { $0.groupCount = 1 }
    try reservations.open(mode.isWithoutIOMMU ? [Self.bookkeeping] : info().allowedRanges)
  }

  private static func remedy(for errno: Errno, opening path: String) -> String? {
    switch errno {
    case .noSuchFileOrDirectory, .operationNotSupportedByDevice:
      path == "/dev/iommu"
        ? "the kernel has no iommufd (CONFIG_IOMMUFD, Linux 6.2; modprobe iommufd); use --mode type1v2"
        : "load VFIO: modprobe vfio-pci (CONFIG_VFIO_CONTAINER)"
    case .permissionDenied: "run as root, or give your user this node: chown $USER \(path)"
    default: nil
    }
  }

  package var descriptor: CInt { owned.rawValue }

  /// The page size: what every IOMMU driver of Linux maps.
  public let granuleByteCount = MemoryPageSize.standard.byteCount

  /// Called when a device was opened: iommufd's imitation learns only then which addresses it forbids.
  func deviceOpened() throws(KernelError) {
    guard mode.nodePath == "/dev/iommu", !mode.isWithoutIOMMU else { return }
    reservations.narrow(to: try info().allowedRanges)
  }

  /// What the container's IOMMU can do, and how many mappings are left, at this moment.
  /// - Throws: `KernelError` for `VFIO_IOMMU_GET_INFO`, which wants a group that has joined; `EOPNOTSUPP`
  ///   without an IOMMU.
  public func info() throws(KernelError) -> VFIOContainerInfo {
    guard !mode.isWithoutIOMMU else {
      throw unsupported("VFIO_IOMMU_GET_INFO", "there is no IOMMU to tell of")
    }
    return try VFIOContainerInfo(of: owned.rawValue, subject: label)
  }

  /// Maps pages of this process; see `AddressSpace`.
  /// - Throws: `KernelError` for `VFIO_IOMMU_MAP_DMA`: `ENOMEM` over the limit of locked memory, `ENOSPC`
  ///   where the container's number of mappings is used up, `EEXIST` for an address that is mapped. Without an
  ///   IOMMU for `mlock` or `/proc/self/pagemap`; `EINVAL` for memory in several pieces.
  @unsafe @inline(__always)
  public func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    if lockedPages != nil { return try unsafe lockPages(base, range) }
    if !access.contains(.write) { unsafe populate(base, range) }
    var flags: UInt32 = 0
    if access.contains(.read) { flags |= ABI_VFIO_DMA_MAP_FLAG_READ }
    if access.contains(.write) { flags |= ABI_VFIO_DMA_MAP_FLAG_WRITE }
    do throws(KernelError) {
      try unsafe map(base, to: range, flags: flags)
    } catch {
      throw advisingOnBudget(error, mapping: range)
    }
  }

  @inline(never)
  private func advisingOnBudget(_ error: KernelError, mapping range: IOVARange) -> KernelError {
    guard error.errno == .noSpace, let budget = try? mappingBudget(), let available = budget.available
    else { return error }
    // An exposure is counted before its pages are mapped.
    let used = exposure(at: range.start) == nil ? budget.used : budget.used - 1
    return error.advising("\(MappingBudget.Shortage(needed: 1, used: used, available: available))")
  }

  /// What stands for mapping without an IOMMU.
  @unsafe @inline(never)
  private func lockPages(_ base: UnsafeMutableRawPointer, _ range: IOVARange) throws(KernelError) {
    try unsafe lockedPages?.lock(base, for: range, in: label)
  }

  @inline(never)
  private func placeOfLockedPages(_ range: IOVARange) -> IOVA {
    lockedPages?.busAddress(of: range) ?? range.start
  }

  @inline(never)
  private func unlockPages(_ range: IOVARange) throws(KernelError) {
    try lockedPages?.unlock(range, in: label)
  }

  /// Gives memory that devices only read its own pages, before they are pinned.
  ///
  /// Before Linux 6.2 the pin of a page that nobody has written yet is that of the kernel's page of zeroes, and what this
  /// process writes later never reaches the device. Memory that cannot be written needs no pages of its own.
  @unsafe
  private func populate(_ base: UnsafeMutableRawPointer, _ range: IOVARange) {
    _ = try? kernelCall("madvise", on: "\(label), \(range), MADV_POPULATE_WRITE") {
      unsafe abi_populate_for_writing(base, range.byteCountMinusOne + 1)
    }
  }

  /// One of the map calls: for a new mapping, or a new address of one that is suspended.
  /// - Parameter purpose: What an error adds to the range.
  @unsafe @inline(__always)
  func map(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, flags: UInt32, _ purpose: StaticString = ""
  ) throws(KernelError) {
    var command = abi_vfio_iommu_type1_dma_map()
    command.flags = flags
    command.vaddr = UInt64(UInt(bitPattern: base))
    command.iova = range.start.rawValue
    command.size = range.byteCountMinusOne + 1
    let fd = owned.rawValue
    do throws(KernelError) {
      try kernelCall("VFIO_IOMMU_MAP_DMA") { unsafe abi_vfio_iommu_map_dma(fd, &command) }
    } catch {
      throw naming(error, range, purpose).advisingOnMemoryLock(mapping: Int(range.byteCountMinusOne + 1))
    }
  }

  @inline(never)
  private func naming(_ error: KernelError, _ range: IOVARange, _ purpose: StaticString = "") -> KernelError {
    error.on("\(label), \(range)\(purpose)")
  }

  /// How many further mappings the container takes; iommufd's imitation sets no limit.
  /// - Throws: `KernelError` for `VFIO_IOMMU_GET_INFO`.
  public func mappingBudget() throws(KernelError) -> MappingBudget {
    let isLimited = mode == .type1 || mode == .type1v2
    return MappingBudget(available: isLimited ? try info().availableMappings : nil, used: exposures.count)
  }

  /// Unmaps everything; see `AddressSpace`.
  /// - Throws: `KernelError` for `VFIO_IOMMU_UNMAP_DMA`: `EINVAL` before Linux 5.12.
  public func unmapAllPages() throws(KernelError) -> UInt64? {
    // Without an IOMMU, or without groups, each range ends by itself.
    guard !mode.isWithoutIOMMU, membership.withLock({ $0.groupCount > 0 }) else { return nil }
    var command = abi_vfio_iommu_type1_dma_unmap()
    command.flags = ABI_VFIO_DMA_UNMAP_FLAG_ALL
    let fd = owned.rawValue
    try kernelCall("VFIO_IOMMU_UNMAP_DMA", on: "\(label), all") {
      unsafe abi_vfio_iommu_unmap_dma(fd, &command)
    }
    return command.size
  }

  /// Unmaps exactly what `mapPages` mapped; with nothing to do where all groups have left since.
  /// - Throws: `KernelError` for `VFIO_IOMMU_UNMAP_DMA`; `EIO` where the kernel unmapped another amount. Without
  ///   an IOMMU `EFAULT` where the kernel had moved a page meanwhile.
  @inline(__always)
  public func unmapPages(_ range: IOVARange) throws(KernelError) {
    if lockedPages != nil { return try unlockPages(range) }
    try unmap(range, flags: 0, operation: "VFIO_IOMMU_UNMAP_DMA") { unsafe abi_vfio_iommu_unmap_dma($0, &$1) }
  }

  /// Where a device finds the memory: at the range itself, or, without an IOMMU, at its physical address.
  public func busAddress(of range: IOVARange) throws(KernelError) -> IOVA {
    guard lockedPages != nil else { return range.start }
    return placeOfLockedPages(range)
  }

  /// One of the unmap calls, which all tell how much they did.
  @inline(__always)
  func unmap(
    _ range: IOVARange, flags: UInt32, operation: StaticString,
    _ call: (CInt, inout abi_vfio_iommu_type1_dma_unmap) -> CInt
  ) throws(KernelError) {
    if _slowPath(wasDeserted.load(ordering: .acquiring)), membership.withLock({ $0.groupCount == 0 }),
      endsWithGroups
    {
      return
    }
    var command = abi_vfio_iommu_type1_dma_unmap()
    command.iova = range.start.rawValue
    let asked = range.byteCountMinusOne + 1
    command.size = asked
    command.flags = flags
    let fd = owned.rawValue
    do throws(KernelError) {
      try kernelCall(operation) { call(fd, &command) }
    } catch {
      throw naming(error, range)
    }
    guard command.size == asked else { return try checkDesertion(range, operation, unmapped: command.size) }
  }

  /// iommufd's imitation keeps its address space; the container gave it up with the last group.
  private var endsWithGroups: Bool { mode.nodePath != "/dev/iommu" }

  /// Lets pass that nothing was mapped any more where groups left the container since.
  @inline(never)
  private func checkDesertion(
    _ range: IOVARange, _ operation: StaticString, unmapped byteCount: UInt64
  ) throws(KernelError) {
    if byteCount == 0 && wasDeserted.load(ordering: .acquiring) && endsWithGroups { return }
    throw KernelError(
      operation: operation.description, errno: .ioError, subject: "\(label), \(range)",
      remedy:
        "the kernel unmapped \(byteCount) of \(range.byteCountMinusOne + 1) bytes: the range was not one mapping"
    )
  }
}

// MARK: - Groups that come and go

extension VFIOContainer {
  /// Without an IOMMU ranges are this library's bookkeeping only: as many as physical memory can have.
  private static let bookkeeping = IOVARange(start: IOVA(0), last: .highest(addressBits: 52))

  /// Called when a group has joined: sets the IOMMU for the first one, and learns which addresses may be used.
  func groupJoined() throws(KernelError) {
    let (fd, type, mode) = (owned.rawValue, mode.iommuType.rawValue, mode)
    let subject = label
    let failure = membership.withLock { membership -> KernelError? in
      do throws(KernelError) {
        if membership.groupCount == 0 {
          try kernelCall("VFIO_SET_IOMMU", on: subject) { abi_vfio_set_iommu(fd, type) }
        }
        let ranges =
          mode.isWithoutIOMMU
          ? [Self.bookkeeping] : try VFIOContainerInfo(of: fd, subject: subject).allowedRanges
        let isFirst = membership.groupCount == 0 && !wasDeserted.load(ordering: .acquiring)
        // Addresses of memory that is exposed since before a desertion stay taken.
        if isFirst { try reservations.open(ranges) } else { reservations.narrow(to: ranges) }
        membership.groupCount += 1
        return nil
      } catch {
        return error
      }
    }
    guard let failure else { return }
    guard failure.errno == .notPermitted else { throw failure }
    throw mode.isWithoutIOMMU
      ? failure.advising(NoIOMMUSwitch.privilegeRemedy)
      : failure.advising(
        "the IOMMU cannot keep this device's interrupts apart from others (no interrupt remapping); on a "
          + "machine whose devices you trust: modprobe vfio_iommu_type1 allow_unsafe_interrupts=1")
  }

  /// Called when a group has left.
  func groupLeft() {
    membership.withLock { membership in
      membership.groupCount -= 1
      if membership.groupCount == 0 { wasDeserted.store(true, ordering: .releasing) }
    }
  }

  /// Lets one caller through until it says `endTracking`.
  func beginTracking() -> Bool {
    membership.withLock { membership in
      defer { membership.tracksDirtyPages = true }
      return !membership.tracksDirtyPages
    }
  }

  func endTracking() { membership.withLock { $0.tracksDirtyPages = false } }
}
