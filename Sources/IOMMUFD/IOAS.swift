// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import SystemPackage

/// An I/O address space of an iommufd.
///
/// Devices that are attached to it share its mappings.
///
/// It destroys its object when the last holder (a device that is attached, a mapping) lets go.
/// - Source: `struct iommu_ioas_alloc`, include/uapi/linux/iommufd.h, Linux 6.2.
public final class IOAS: AddressSpace {
  /// The context that it lives in.
  public let context: IOMMUFDContext
  /// Its number, for calls that attach to it.
  public let id: IOMMUFDObjectID
  /// For messages.
  public let label: String
  /// Addresses handed out.
  ///
  /// Declared after the context: parked memory goes last.
  public let reservations: IOVAReservations
  /// Whether the object goes with this value.
  private let isOwned: Bool
  private let registration: ObjectRegistration?

  /// Makes an address space without devices; all addresses are allowed until one is attached.
  /// - Throws: `KernelError` for `IOMMU_IOAS_ALLOC` or `IOMMU_IOAS_IOVA_RANGES`.
  public init(in context: IOMMUFDContext) throws(KernelError) {
    self.context = context
    var command = abi_iommu_ioas_alloc()
    let fd = context.descriptor
    try kernelCall("IOMMU_IOAS_ALLOC") { unsafe abi_iommu_ioas_alloc(fd, &command) }
    let id = IOMMUFDObjectID(command.out_ioas_id)
    self.id = id
    isOwned = true
    registration = ObjectRegistration(
      IOMMUFDObject(id: id, kind: .ioas, label: "", uses: []), in: context.registry)
    label = "IOAS \(id) (fd \(fd))"
    do throws(KernelError) {
      reservations = IOVAReservations(allowed: try Self.allowedRanges(of: id, in: context))
    } catch {
      // `deinit` does not run for an object whose making failed.
      _ = try? context.destroy(id, "IOAS")
      throw error
    }
  }

  /// Uses an address space that somebody else made in the same context, and leaves it when done.
  ///
  /// What is mapped there already is not known here: choosing an address may end in `EEXIST`.
  /// - Throws: `KernelError` for `IOMMU_IOAS_IOVA_RANGES`: `ENOENT` where the context has no such address space.
  public init(adopting id: IOMMUFDObjectID, in context: IOMMUFDContext) throws(KernelError) {
    self.context = context
    self.id = id
    isOwned = false
    // Whoever made it in this process has entered it.
    registration =
      context.registry.contains(id)
      ? nil
      : ObjectRegistration(
        IOMMUFDObject(id: id, kind: .ioas, label: "made elsewhere", uses: []), in: context.registry)
    label = "IOAS \(id) (fd \(context.descriptor))"
    reservations = IOVAReservations(allowed: try Self.allowedRanges(of: id, in: context))
  }

  /// The page size: what every IOMMU driver of Linux maps.
  public var granuleByteCount: Int { MemoryPageSize.standard.byteCount }

  /// Asks the kernel anew which addresses may be used: each attached device may forbid some.
  /// - Throws: `KernelError` for `IOMMU_IOAS_IOVA_RANGES`.
  public func refreshAllowedRanges() throws(KernelError) {
    reservations.narrow(to: try Self.allowedRanges(of: id, in: context))
  }

  private static func allowedRanges(
    of id: IOMMUFDObjectID, in context: IOMMUFDContext
  ) throws(KernelError) -> [IOVARange] {
    let fd = context.descriptor
    var capacity = 16
    while true {
      var ranges = [abi_iommu_iova_range](repeating: .init(), count: capacity)
      var command = abi_iommu_ioas_iova_ranges()
      command.ioas_id = id.rawValue
      let result = try kernelCall("IOMMU_IOAS_IOVA_RANGES", on: "IOAS \(id)") {
        let result = unsafe abi_iommu_ioas_iova_ranges(fd, &command, &ranges, UInt32(capacity))
        // EMSGSIZE tells how many there are, which is an answer.
        return result == -Errno.messageTooLong.rawValue ? 1 : result
      }
      if result == 0 {
        return ranges.prefix(Int(command.num_iovas)).map {
          IOVARange(start: IOVA($0.start), last: IOVA($0.last))
        }
      }
      capacity = max(Int(command.num_iovas), capacity * 2)
    }
  }

  /// Maps pages of this process; see ``AddressSpace``.
  /// - Throws: `KernelError` for `IOMMU_IOAS_MAP`: `ENOMEM` over the limit of locked memory, `EEXIST` for an
  ///   address that is mapped, `EADDRINUSE` for a reserved one.
  @unsafe
  public func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    var command = abi_iommu_ioas_map()
    command.flags = ABI_IOMMU_IOAS_MAP_FIXED_IOVA
    if access.contains(.read) { command.flags |= ABI_IOMMU_IOAS_MAP_READABLE }
    if access.contains(.write) { command.flags |= ABI_IOMMU_IOAS_MAP_WRITEABLE }
    command.ioas_id = id.rawValue
    command.user_va = UInt64(UInt(bitPattern: base))
    command.length = range.byteCountMinusOne + 1
    command.iova = range.start.rawValue
    let fd = context.descriptor
    do throws(KernelError) {
      try kernelCall("IOMMU_IOAS_MAP", on: "\(label), \(range)") { unsafe abi_iommu_ioas_map(fd, &command) }
    } catch {
      throw error.advisingOnMemoryLock(mapping: Int(command.length))
    }
  }

  /// Unmaps exactly what `mapPages` mapped.
  /// - Throws: `KernelError` for `IOMMU_IOAS_UNMAP`: `ENOENT` where nothing, or only a part, is mapped.
  public func unmapPages(_ range: IOVARange) throws(KernelError) {
    var command = abi_iommu_ioas_unmap()
    command.ioas_id = id.rawValue
    command.iova = range.start.rawValue
    command.length = range.byteCountMinusOne + 1
    let fd = context.descriptor
    try kernelCall("IOMMU_IOAS_UNMAP", on: "\(label), \(range)") { unsafe abi_iommu_ioas_unmap(fd, &command) }
  }

  /// Unmaps everything; see `AddressSpace`.
  /// - Throws: `KernelError` for `IOMMU_IOAS_UNMAP`.
  public func unmapAllPages() throws(KernelError) -> UInt64? {
    var command = abi_iommu_ioas_unmap()
    command.ioas_id = id.rawValue
    // From 0, this length means all: 2^64 itself does not fit.
    command.length = .max
    let fd = context.descriptor
    try kernelCall("IOMMU_IOAS_UNMAP", on: "\(label), all") { unsafe abi_iommu_ioas_unmap(fd, &command) }
    return command.length
  }

  deinit {
    guard isOwned else {
      // It outlives this value, and so does what could not be unmapped from it.
      reservations.leakParkedMemory()
      return
    }
    do throws(KernelError) {
      try context.destroy(id, "IOAS")
    } catch {
      reservations.leakParkedMemory()
    }
  }
}
