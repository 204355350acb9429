// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import DeviceRegisters
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// Registers of one device that devices of a container reach: the peer's address of them.
///
/// It keeps the device open that the registers belong to. The kernel does not know when they go away (a reset, memory
/// decode off): stop the peer first. A dma-buf tells both sides.
public struct PeerMapping: ~Copyable, Sendable {
  /// The length in bytes: whole pages.
  public let byteCount: Int
  /// The peer's address of the first byte.
  public let iova: IOVA
  private let lease: Lease

  /// A mapping that lasts: ended once.
  private final class Lease: Sendable {
    let container: VFIOContainer
    let range: IOVARange
    let owner: any RegisterBacking
    private let isOver = Atomic<Bool>(false)

    init(_ container: VFIOContainer, _ range: IOVARange, _ owner: any RegisterBacking) {
      self.container = container
      self.range = range
      self.owner = owner
    }

    func end() throws(KernelError) {
      guard !isOver.exchange(true, ordering: .acquiringAndReleasing) else { return }
      do throws(KernelError) {
        try container.unmapPages(range)
      } catch {
        // A peer may reach the registers still: their device stays open, and the addresses taken, until the
        // container is gone.
        container.reservations.keep(owner)
        throw error
      }
      container.reservations.giveBack(range)
    }

    deinit { _ = try? end() }
  }

  init(
    _ container: VFIOContainer, _ window: borrowing RegisterWindow, bytes: Range<Int>?, access: DMAAccess,
    at iova: IOVA?, addressBits: Int
  ) throws(KernelError) {
    let operation = "map register window"
    guard !container.mode.isWithoutIOMMU else {
      throw container.unsupported(operation, "without an IOMMU a device reaches a peer by its bus address")
    }
    let mapped = window.mappedByteOffset..<window.mappedByteOffset + window.mappedByteCount
    let part = bytes ?? mapped
    let unit = container.granuleByteCount
    guard !part.isEmpty, mapped.lowerBound <= part.lowerBound, part.upperBound <= mapped.upperBound,
      part.lowerBound % unit == 0, part.count % unit == 0
    else {
      throw KernelError(
        operation: operation, errno: .invalidArgument, subject: "\(container.label), bytes \(part)",
        remedy: "a peer can reach whole pages of \(unit) bytes of what is mapped here, \(mapped)")
    }
    let range = try container.reservations.take(
      at: iova, byteCount: part.count, alignment: unit, granule: unit,
      upTo: .highest(addressBits: addressBits), in: container.label)
    do throws(KernelError) {
      let base = unsafe window.mappedBaseAddress + (part.lowerBound - mapped.lowerBound)
      try unsafe container.mapPages(base, to: range, access: access, sharing: .coherent)
    } catch {
      container.reservations.giveBack(range)
      throw container.mode.nodePath == "/dev/iommu"
        ? error.advising(
          "iommufd's imitation (mode \(container.mode.rawValue)) takes no registers by their address; export them "
            + "as a dma-buf, or use --mode type1v2") : error
    }
    lease = Lease(container, range, window.owner)
    byteCount = part.count
    self.iova = range.start
  }

  /// The peer's address of a byte of this mapping.
  public borrowing func iova(at byteOffset: Int) -> IOVA {
    precondition(byteOffset >= 0 && byteOffset < byteCount, "a place inside the mapping")
    return IOVA(iova.rawValue &+ UInt64(byteOffset))
  }

  /// Takes the registers back from the peers.
  /// - Throws: `KernelError` for the unmap call; the registers' device then stays open until the container is gone.
  public consuming func unmap() throws(KernelError) { try lease.end() }
}

extension VFIOContainer {
  /// Lets this container's devices reach registers of another device: peer to peer.
  ///
  /// Only a container takes registers by their address in this process; an IOAS takes a dma-buf of them.
  /// - Parameters:
  ///   - window: Of a BAR; it may be dropped afterwards.
  ///   - bytes: Which part, whole pages of what is mapped; nil for all of that.
  ///   - access: What the *peers* may do.
  ///   - iova: Where; nil lets the library choose.
  ///   - addressBits: How many address bits the peers drive.
  /// - Throws: `KernelError`: `EINVAL` for a part that is not mapped or not of whole pages; `EOPNOTSUPP` without an
  ///   IOMMU; for `VFIO_IOMMU_MAP_DMA`, which iommufd's imitation refuses (`EFAULT`).
  public func map(
    _ window: borrowing RegisterWindow, bytes: Range<Int>? = nil, access: DMAAccess = .readWrite,
    at iova: IOVA? = nil, addressBits: Int = 64
  ) throws(KernelError) -> PeerMapping {
    try PeerMapping(self, window, bytes: bytes, access: access, at: iova, addressBits: addressBits)
  }
}
