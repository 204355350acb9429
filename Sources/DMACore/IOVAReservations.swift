// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// What one address space has handed out: its addresses, and memory that must not be reused before the
/// address space itself is gone.
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
    var allocator: IOVAAllocator
    var parked: [Pages] = []
  }
  private let state: Mutex<State>

  /// Starts with everything free.
  public init(allowed: [IOVARange]) {
    state = Mutex(State(allocator: IOVAAllocator(allowed: allowed)))
  }

  /// The ranges that may be used, sorted.
  public var allowed: [IOVARange] { state.withLock { $0.allocator.allowed } }

  /// Forbids what `ranges` leave out, after a device joined the address space.
  public func narrow(to ranges: [IOVARange]) { state.withLock { $0.allocator.narrow(to: ranges) } }

  /// Everything may be used anew, within `ranges`: for an address space that learns them late.
  public func open(_ ranges: [IOVARange]) { state.withLock { $0.allocator = IOVAAllocator(allowed: ranges) } }

  /// How many bytes wait for the end of the address space because they could not be unmapped.
  public var parkedByteCount: Int { state.withLock { $0.parked.reduce(0) { $0 + $1.byteCount } } }

  /// Takes a range for a mapping; for address spaces and what they map besides memory.
  /// - Parameters:
  ///   - address: Where it must begin, or nil for any place that fits.
  ///   - alignment: Of a place that is chosen here, in bytes; a power of two.
  ///   - granule: What a given place is a multiple of, in bytes.
  ///   - limit: The highest address that the device reaches, inclusive.
  /// - Throws: `KernelError`, as the kernel would: `ENOSPC` nothing free, `EEXIST` taken, `EINVAL` not allowed.
  public func take(
    at address: IOVA?, byteCount: Int, alignment: Int, granule: Int, upTo limit: IOVA, in space: String
  ) throws(KernelError) -> IOVARange {
    let result = state.withLock { state -> Result<IOVARange, IOVAAllocator.Failure> in
      do throws(IOVAAllocator.Failure) {
        guard let address else {
          return .success(
            try state.allocator.allocate(
              byteCount: UInt64(byteCount), alignment: UInt64(alignment), upTo: limit))
        }
        guard let range = IOVARange(start: address, byteCount: UInt64(byteCount)), range.last <= limit,
          address.rawValue % UInt64(granule) == 0
        else { return .failure(.notAllowed) }
        try state.allocator.reserve(range)
        return .success(range)
      } catch {
        return .failure(error)
      }
    }
    switch result {
    case .success(let range): return range
    case .failure(let failure):
      let place = address.map { "at \($0)" } ?? "up to \(limit)"
      let allowedText = allowed.map(\.description).joined(separator: ", ")
      let (errno, remedy): (Errno, String) =
        switch failure {
        case .exhausted: (.noSpace, "no free range below the device's limit; allowed are \(allowedText)")
        case .taken: (.fileExists, "the range is mapped already; choose another or let the library choose")
        case .notAllowed, .notAllocated:
          (.invalidArgument, "allowed are only multiples of \(granule) up to \(limit) in \(allowedText)")
        }
      throw KernelError(
        operation: "allocate IOVA", errno: errno, subject: "\(space), \(byteCount) bytes \(place)",
        remedy: remedy)
    }
  }

  /// Gives a range back that is mapped no more.
  public func giveBack(_ range: IOVARange) {
    state.withLock { state in
      do throws(IOVAAllocator.Failure) {
        try state.allocator.deallocate(range)
      } catch {
        preconditionFailure("\(range) was given back twice: \(error)")
      }
    }
  }

  /// Keeps memory that a device may still reach until the address space is gone.
  @unsafe
  func park(_ base: UnsafeMutableRawPointer, byteCount: Int) {
    let pages = unsafe Pages(base: base, byteCount: byteCount)
    state.withLock { $0.parked.append(pages) }
  }

  /// Leaks the parked memory for good: the kernel object could not be destroyed, so a device may reach it
  /// for as long as the process lives.
  public func leakParkedMemory() { state.withLock { $0.parked = [] } }

  deinit {
    for pages in state.withLock({ $0.parked }) { _ = unsafe abi_munmap(pages.base, UInt64(pages.byteCount)) }
  }
}
