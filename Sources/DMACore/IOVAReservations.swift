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
    var allocator: IOVAAllocator
    var parked: [Pages] = []
    var kept: [any AnyObject & Sendable] = []
    /// How many ranges are out.
    var outCount = 0
  }
  private let state: Mutex<State>
  /// What is exposed.
  let exposures = ExposureTable()

  /// Starts with everything free.
  public init(allowed: [IOVARange]) {
    state = Mutex(State(allocator: IOVAAllocator(allowed: allowed)))
  }

  /// The ranges that may be used, sorted.
  public var allowed: [IOVARange] { state.withLock { $0.allocator.allowed } }

  /// Forbids what `ranges` leave out, after a device joined the address space.
  public func narrow(to ranges: [IOVARange]) { state.withLock { $0.allocator.narrow(to: ranges) } }

  /// Everything may be used anew, within `ranges`: for an address space that learns them late.
  /// - Throws: `KernelError`: `EBUSY` while a range is handed out; nothing changes then.
  public func open(_ ranges: [IOVARange]) throws(KernelError) {
    let outCount = state.withLock { state in
      if state.outCount == 0 { state.allocator = IOVAAllocator(allowed: ranges) }
      return state.outCount
    }
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
    at address: IOVA?, byteCount: Int, alignment: Int, granule: Int, upTo limit: IOVA,
    in space: @autoclosure () -> String
  ) throws(KernelError) -> IOVARange {
    let result = state.withLock { state -> Result<IOVARange, IOVAAllocator.Failure> in
      do throws(IOVAAllocator.Failure) {
        guard byteCount & (granule - 1) == 0 else { return .failure(.notAllowed) }
        let range: IOVARange
        if let address {
          guard let wanted = IOVARange(start: address, byteCount: UInt64(byteCount)), wanted.last <= limit,
            address.rawValue & UInt64(granule - 1) == 0
          else { return .failure(.notAllowed) }
          try state.allocator.reserve(wanted)
          range = wanted
        } else {
          range = try Self.allocate(&state.allocator, byteCount, alignment, granule, limit)
        }
        state.outCount += 1
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
          (
            .invalidArgument,
            "allowed are only multiples of \(granule), in length too, up to \(limit) in \(allowedText)"
          )
        }
      throw KernelError(
        operation: "allocate IOVA", errno: errno, subject: "\(space()), \(byteCount) bytes \(place)",
        remedy: remedy)
    }
  }

  private static func allocate(
    _ allocator: inout IOVAAllocator, _ byteCount: Int, _ alignment: Int, _ granule: Int, _ limit: IOVA
  ) throws(IOVAAllocator.Failure) -> IOVARange {
    var alignment = alignment
    while true {
      do throws(IOVAAllocator.Failure) {
        return try allocator.allocate(
          byteCount: UInt64(byteCount), alignment: UInt64(alignment), upTo: limit)
      } catch {
        guard alignment > granule else { throw error }
        alignment = max(granule, alignment >> 9)
      }
    }
  }

  /// Gives a range back that is mapped no more.
  package func giveBack(_ range: IOVARange) {
    state.withLock { state in
      do throws(IOVAAllocator.Failure) {
        try state.allocator.deallocate(range)
        state.outCount -= 1
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
