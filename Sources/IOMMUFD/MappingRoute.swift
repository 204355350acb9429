// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import LinuxHandles
internal import Synchronization

/// An ``IOAS`` as one exposure sees it whose pages come there by another call than `IOMMU_IOAS_MAP`.
///
/// So a copied mapping, or one of a file, is an exposure as any: the same ledger counts its pages, and it takes its
/// addresses from the same reservations.
final class MappingRoute: AddressSpace {
  let label: String
  let granuleByteCount: Int
  let reservations: IOVAReservations
  /// Nil once an unmap failed: the address space then holds this route, and must not be held by it.
  private let target: Mutex<IOAS?>
  private let map: @Sendable (IOVARange) throws(KernelError) -> Void

  init(into target: IOAS, by map: @escaping @Sendable (IOVARange) throws(KernelError) -> Void) {
    label = target.label
    granuleByteCount = target.granuleByteCount
    reservations = target.reservations
    self.target = Mutex(target)
    self.map = map
  }

  /// The address space itself.
  var ioas: IOAS? { target.withLock { $0 } }

  @unsafe
  func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    try map(range)
  }

  func unmapPages(_ range: IOVARange) throws(KernelError) {
    guard let ioas else { return }
    do throws(KernelError) {
      try ioas.unmapPages(range)
    } catch {
      // The ledger keeps the pages shared until this route is gone, which must be when the address space is.
      ioas.keep(self)
      target.withLock { $0 = nil }
      throw error
    }
  }

  func unmapAllPages() throws(KernelError) -> UInt64? { try ioas?.unmapAllPages() }
}
