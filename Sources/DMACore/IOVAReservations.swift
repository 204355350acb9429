// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// What one address space has handed out: its addresses, the memory that is exposed there, and memory that must
/// not be reused before the address space itself is gone.
///
/// An address space declares this member after the one that owns its kernel object, so that memory whose
/// unmapping failed is given back to the system only when no device can reach it any more.
public final class IOVAReservations: Sendable {
  @safe
  private struct Pages: @unchecked Sendable {
    let base: UnsafeMutableRawPointer
    let byteCount: Int
  }
  private struct State: ~Copyable {
    var parked: [Pages] = []
    var kept: [any AnyObject & Sendable] = []
  }
  private let state = Mutex(State())
  /// The addresses, and what is exposed there.
  let exposures: ExposureTable

  /// Starts with everything free.
  public init(allowed: [IOVARange]) { exposures = ExposureTable(allowed: allowed) }

  /// The ranges that may be used, sorted.
  public var allowed: [IOVARange] { exposures.allowed }

  /// Forbids what `ranges` leave out, after a device joined the address space.
  public func narrow(to ranges: [IOVARange]) { exposures.narrow(to: ranges) }

  /// Everything may be used anew, within `ranges`: for an address space that learns them late.
  /// - Throws: `KernelError`: `EBUSY` while a range is handed out; nothing changes then.
  public func open(_ ranges: [IOVARange]) throws(KernelError) {
    let outCount = exposures.open(ranges)
    guard outCount == 0 else {
      throw KernelError(
        operation: "open address space", errno: .resourceBusy, subject: "\(ranges.count) ranges",
        remedy:
          "\(outCount) ranges are handed out; reclaim their memory first, or narrow(to:) what is allowed")
    }
  }

  /// How many bytes wait for the end of the address space because they could not be unmapped.
  public var parkedByteCount: Int { state.withLock { $0.parked.reduce(0) { $0 + $1.byteCount } } }

  /// Takes a range for a mapping; for address spaces and what they map besides memory.
  /// - Parameters:
  ///   - address: Where it must begin, or nil for any place that fits.
  ///   - byteCount: A multiple of the granule.
  ///   - alignment: Of a place that is chosen here, in bytes; a power of two. Where no such place is left, one
  ///     with less is taken, down to the granule.
  ///   - granule: What a given place is a multiple of, in bytes.
  ///   - limit: The highest address that the device reaches, inclusive.
  /// - Throws: `KernelError`, as the kernel would: `ENOSPC` nothing free, `EEXIST` taken, `EINVAL` not allowed.
  package func take(
    at address: IOVA?, byteCount: Int, alignment: Int, granule: Int, upTo limit: IOVA, in space: String
  ) throws(KernelError) -> IOVARange {
    let request = IOVARequest(
      address: address, byteCount: byteCount, alignment: alignment, granule: granule, limit: limit)
    do throws(IOVAAllocator.Failure) {
      return try exposures.take(request)
    } catch {
      throw request.refused(error, by: space, allowing: allowed)
    }
  }

  /// Gives a range back that is mapped no more.
  package func giveBack(_ range: IOVARange) { exposures.giveBack(range) }

  /// Keeps memory that a device may still reach until the address space is gone.
  @unsafe
  func park(_ base: UnsafeMutableRawPointer, byteCount: Int) {
    let pages = unsafe Pages(base: base, byteCount: byteCount)
    state.withLock { $0.parked.append(pages) }
  }

  /// Keeps what owns a device's registers that a peer may still reach, until the address space is gone.
  package func keep(_ owner: any AnyObject & Sendable) { state.withLock { $0.kept.append(owner) } }

  /// Leaks the parked memory for good: the kernel object could not be destroyed, so a device may reach it
  /// for as long as the process lives.
  public func leakParkedMemory() { state.withLock { $0.parked = [] } }

  deinit {
    exposures.close()
    for pages in state.withLock({ $0.parked }) { _ = unsafe abi_munmap(pages.base, UInt64(pages.byteCount)) }
  }
}
