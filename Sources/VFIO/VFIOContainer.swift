// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// A container of IOMMU groups that share one address space: `/dev/vfio/vfio`, or iommufd's imitation.
///
/// Its IOMMU is set when the first group joins; until then no address may be used.
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
  private let isSet = Mutex(false)

  /// Opens a container without groups.
  /// - Throws: `KernelError` for `open`, `VFIO_GET_API_VERSION` or `VFIO_CHECK_EXTENSION`: the remedy says
  ///   which module is missing.
  public init(mode: VFIOMode) throws(KernelError) {
    precondition(mode.usesGroup, "iommufd's own mode has no container")
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
    let type = mode.iommuType
    let isOffered = try kernelCall("VFIO_CHECK_EXTENSION", on: "\(path), \(mode.rawValue)") {
      let result = abi_vfio_check_extension(fd, type)
      // The imitation has no address space yet and says so; it always offers both versions.
      return result == -Errno.operationNotSupportedByDevice.rawValue ? 1 : result
    }
    guard isOffered > 0 else {
      throw KernelError(
        operation: "VFIO_CHECK_EXTENSION", errno: .notSupported, subject: "\(path), \(mode.rawValue)",
        remedy: "load the IOMMU driver of VFIO: modprobe vfio_iommu_type1")
    }
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
    isSet.withLock { $0 = true }
    try reservations.open(info().allowedRanges)
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

  var descriptor: CInt { owned.rawValue }

  /// The page size: what every IOMMU driver of Linux maps.
  public var granuleByteCount: Int { MemoryPageSize.standard.byteCount }

  /// Asks the kernel anew which addresses may be used.
  ///
  /// Each device may forbid some, and iommufd's imitation learns of a device only when it is opened.
  func refreshAllowedRanges() throws(KernelError) {
    reservations.narrow(to: try info().allowedRanges)
  }

  /// What the container's IOMMU can do, and how many mappings are left, at this moment.
  /// - Throws: `KernelError` for `VFIO_IOMMU_GET_INFO`, which wants a group that has joined.
  public func info() throws(KernelError) -> VFIOContainerInfo {
    try VFIOContainerInfo(of: owned.rawValue, subject: label)
  }

  /// Called when a group has joined: sets the IOMMU once, and learns which addresses may be used.
  func groupJoined() throws(KernelError) {
    let (fd, type) = (owned.rawValue, mode.iommuType)
    let subject = label
    let failure = isSet.withLock { isSet -> KernelError? in
      do throws(KernelError) {
        if !isSet { try kernelCall("VFIO_SET_IOMMU", on: subject) { abi_vfio_set_iommu(fd, type) } }
        let ranges = try VFIOContainerInfo(of: fd, subject: subject).allowedRanges
        if isSet { reservations.narrow(to: ranges) } else { try reservations.open(ranges) }
        isSet = true
        return nil
      } catch {
        return error
      }
    }
    guard let failure else { return }
    throw failure.errno == .notPermitted
      ? failure.advising(
        "the IOMMU cannot keep this device's interrupts apart from others (no interrupt remapping); on a "
          + "machine whose devices you trust: modprobe vfio_iommu_type1 allow_unsafe_interrupts=1")
      : failure
  }

  /// Maps pages of this process; see `AddressSpace`.
  /// - Throws: `KernelError` for `VFIO_IOMMU_MAP_DMA`: `ENOMEM` over the limit of locked memory, `ENOSPC`
  ///   where the container's number of mappings is used up, `EEXIST` for an address that is mapped.
  @unsafe
  public func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    var command = abi_vfio_iommu_type1_dma_map()
    if access.contains(.read) { command.flags |= ABI_VFIO_DMA_MAP_FLAG_READ }
    if access.contains(.write) { command.flags |= ABI_VFIO_DMA_MAP_FLAG_WRITE }
    command.vaddr = UInt64(UInt(bitPattern: base))
    command.iova = range.start.rawValue
    command.size = range.byteCountMinusOne + 1
    let fd = owned.rawValue
    do throws(KernelError) {
      try kernelCall("VFIO_IOMMU_MAP_DMA", on: "\(label), \(range)") {
        unsafe abi_vfio_iommu_map_dma(fd, &command)
      }
    } catch {
      guard error.errno == .noSpace, let budget = try? mappingBudget(), let available = budget.available
      else {
        throw error.advisingOnMemoryLock(mapping: Int(command.size))
      }
      // An exposure is counted before its pages are mapped.
      let used = exposure(at: range.start) == nil ? budget.used : budget.used - 1
      throw error.advising("\(MappingBudget.Shortage(needed: 1, used: used, available: available))")
    }
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
    var command = abi_vfio_iommu_type1_dma_unmap()
    command.flags = ABI_VFIO_DMA_UNMAP_FLAG_ALL
    let fd = owned.rawValue
    try kernelCall("VFIO_IOMMU_UNMAP_DMA", on: "\(label), all") {
      unsafe abi_vfio_iommu_unmap_dma(fd, &command)
    }
    return command.size
  }

  /// Unmaps exactly what `mapPages` mapped.
  /// - Throws: `KernelError` for `VFIO_IOMMU_UNMAP_DMA`; `EIO` where the kernel unmapped another amount.
  public func unmapPages(_ range: IOVARange) throws(KernelError) {
    var command = abi_vfio_iommu_type1_dma_unmap()
    command.iova = range.start.rawValue
    command.size = range.byteCountMinusOne + 1
    let asked = command.size
    let fd = owned.rawValue
    try kernelCall("VFIO_IOMMU_UNMAP_DMA", on: "\(label), \(range)") {
      unsafe abi_vfio_iommu_unmap_dma(fd, &command)
    }
    guard command.size == asked else {
      throw KernelError(
        operation: "VFIO_IOMMU_UNMAP_DMA", errno: .ioError, subject: "\(label), \(range)",
        remedy: "the kernel unmapped \(command.size) of \(asked) bytes: the range was not one mapping")
    }
  }
}
