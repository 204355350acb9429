// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// The fact that something that is no memory of this process is mapped in an ``IOAS``: made once, ended exactly once.
final class MappedRange: Sendable {
  let space: IOAS
  let range: IOVARange
  private let isOver = Atomic<Bool>(false)

  /// Takes addresses and maps.
  init(
    _ byteCount: Int, in space: IOAS, at iova: IOVA?, addressBits: Int,
    by map: (IOVARange) throws(KernelError) -> Void
  ) throws(KernelError) {
    range = try space.reservations.take(
      at: iova, byteCount: byteCount, alignment: space.granuleByteCount, granule: space.granuleByteCount,
      upTo: .highest(addressBits: addressBits), in: space.label)
    self.space = space
    do throws(KernelError) {
      try map(range)
    } catch {
      // All is set, so that `deinit` runs: it must not unmap what was never mapped.
      isOver.store(true, ordering: .releasing)
      space.reservations.giveBack(range)
      throw error
    }
  }

  /// Lets another address space of the context reach the same; the kernel pins nothing again.
  func copied(
    to target: IOAS, access: DMAAccess, at iova: IOVA?, addressBits: Int
  ) throws(KernelError) -> MappedRange {
    try MappedRange(
      Int(range.byteCountMinusOne) + 1, in: target, at: iova, addressBits: addressBits
    ) { place throws(KernelError) in
      _ = try target.copyMapping(of: range, from: space, at: place.start, access: access)
    }
  }

  func end() throws(KernelError) {
    guard !isOver.exchange(true, ordering: .acquiringAndReleasing) else { return }
    do throws(KernelError) {
      try space.unmapPages(range)
    } catch {
      // Gone already where all of the address space was unmapped at once.
      guard error.errno == .noSuchFileOrDirectory else { throw error }
    }
    space.reservations.giveBack(range)
  }

  deinit { _ = try? end() }
}
