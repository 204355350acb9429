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
  private let state: Mutex<State>

  private struct State {
    /// Nil once an unmap failed: the address space then holds this route, and must not be held by it.
    var target: IOAS?
    /// Until it was made: it holds address spaces as well.
    var map: (@Sendable (IOVARange) throws(KernelError) -> Void)?
  }

  /// - Parameter map: Made once, for the range that the exposure takes.
  init(into target: IOAS, by map: @escaping @Sendable (IOVARange) throws(KernelError) -> Void) {
    label = target.label
    granuleByteCount = target.granuleByteCount
    reservations = target.reservations
    state = Mutex(State(target: target, map: map))
  }

  /// The address space itself.
  var ioas: IOAS? { state.withLock { $0.target } }

  @unsafe
  func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    let map = state.withLock { state in
      defer { state.map = nil }
      return state.map
    }
    guard let map else { preconditionFailure("a route is taken by one exposure") }
    try map(range)
  }

  func unmapPages(_ range: IOVARange) throws(KernelError) {
    guard let ioas else { return }
    do throws(KernelError) {
      try ioas.unmapPages(range)
    } catch {
      // The ledger keeps the pages shared until this route is gone, which must be when the address space is.
      ioas.keep(self)
      state.withLock { $0.target = nil }
      throw error
    }
  }

  func unmapAllPages() throws(KernelError) -> UInt64? { try ioas?.unmapAllPages() }
}
