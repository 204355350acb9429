// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// Hands out PASIDs, each to one owner at a time.
///
/// Where it has a source whose kernel hands out PASIDs, it asks there, so that processes that share an IOMMU do not
/// meet; elsewhere it answers itself by the same rules, and ``backing`` tells which of the two did. PASID 0 is the
/// device itself and never handed out. The lowest free one of a range is taken.
///
/// A lease gives its PASID back when it goes, with the address space, the driver or the process that holds it; a PASID
/// that is attached to a device stays out until it is detached, whoever lets go of its lease.
///
/// All members may be called from any thread.
public final class PASIDAllocator: Sendable {
  /// Who hands the PASIDs out.
  public enum Backing: Hashable, Sendable {
    /// The kernel, for a container of this process: its quota is that of the process.
    case kernel
    /// This value.
    case process
  }

  /// What the kernel's proposal allows a process.
  public static let standardQuota = 1000

  fileprivate struct State {
    /// A bit for each PASID that is out.
    var words = [UInt64](repeating: 0, count: (Int(PASID.highest.rawValue) + 1) / 64)
    var count = 0
    var quota: Int
    /// Once a source has answered that it has none, it is not asked again.
    var backing: Backing
  }
  private let source: (any PASIDSource)?
  private let state: Mutex<State>

  /// Starts with all PASIDs free.
  /// - Parameters:
  ///   - source: Who is asked first; held by the allocator.
  ///   - quota: How many may be out at a time, of this allocator.
  public init(of source: (any PASIDSource)? = nil, quota: Int = standardQuota) {
    precondition(quota >= 0, "a quota is a number of PASIDs")
    self.source = source
    state = Mutex(State(quota: quota, backing: source == nil ? .process : .kernel))
  }

  /// Who hands the PASIDs out, as far as is known: before the first allocation, the source.
  public var backing: Backing { state.withLock { $0.backing } }

  /// How many may be out at a time; less than are out is allowed, and refuses new ones.
  public var quota: Int {
    get { state.withLock { $0.quota } }
    set {
      precondition(newValue >= 0, "a quota is a number of PASIDs")
      state.withLock { $0.quota = newValue }
    }
  }

  /// Those that are out, ascending.
  public var allocated: [PASID] {
    let words = state.withLock { $0.words }
    return words.indices.filter { words[$0] != 0 }.flatMap { index in
      (0..<64).filter { words[index] >> UInt64($0) & 1 == 1 }.compactMap { PASID(UInt32(index * 64 + $0)) }
    }
  }

  /// Takes a free PASID.
  /// - Parameter range: Both ends included; 0 is left out.
  /// - Returns: Its lease, which gives it back.
  /// - Throws: `KernelError`: `ENOSPC` over the quota, or where the range has none free; of the source what the kernel
  ///   says.
  public func allocate(in range: ClosedRange<PASID> = .all) throws(KernelError) -> PASIDLease {
    try checkQuota()
    if backing == .kernel, let source {
      do throws(KernelError) {
        let pasid = try source.takePASID(in: range)
        state.withLock { $0.note(pasid) }
        return PASIDLease(PASIDRecord(pasid, of: self))
      } catch {
        guard error.errno == .inappropriateIOCTLForDevice else { throw error }
        state.withLock { $0.backing = .process }
      }
    }
    let taken = state.withLock { state -> PASID? in
      // Again, under the lock: another thread may have taken the last one since.
      guard state.count < state.quota, let pasid = state.lowestFree(in: range) else { return nil }
      state.note(pasid)
      return pasid
    }
    guard let taken else {
      try checkQuota()
      throw KernelError(
        operation: "allocate PASID", errno: .noSpace, subject: "\(range.lowerBound)...\(range.upperBound)",
        remedy: "all PASIDs of the range are out; free some, or ask for a wider range")
    }
    return PASIDLease(PASIDRecord(taken, of: self))
  }

  private func checkQuota() throws(KernelError) {
    let (count, quota) = state.withLock { ($0.count, $0.quota) }
    guard count < quota else {
      throw KernelError(
        operation: "allocate PASID", errno: .noSpace, subject: "quota",
        remedy: "needed 1, used \(count), limit \(quota): free some, or set the quota higher")
    }
  }

  /// Takes one back that is out.
  func giveBack(_ pasid: PASID) throws(KernelError) {
    // Before the kernel may hand it out anew.
    state.withLock { $0.forget(pasid) }
    guard backing == .kernel, let source else { return }
    do throws(KernelError) {
      try source.giveBackPASID(pasid)
    } catch {
      state.withLock { $0.note(pasid) }
      throw error
    }
  }
}

extension PASIDAllocator.State {
  fileprivate mutating func note(_ pasid: PASID) {
    let bit: UInt64 = 1 << UInt64(pasid.rawValue & 63)
    precondition(words[Int(pasid.rawValue >> 6)] & bit == 0, "a PASID is handed out once")
    words[Int(pasid.rawValue >> 6)] |= bit
    count += 1
  }

  fileprivate mutating func forget(_ pasid: PASID) {
    words[Int(pasid.rawValue >> 6)] &= ~(1 << UInt64(pasid.rawValue & 63))
    count -= 1
  }

  fileprivate func lowestFree(in range: ClosedRange<PASID>) -> PASID? {
    var first = max(range.lowerBound.rawValue, 1)
    while first <= range.upperBound.rawValue {
      let free = ~words[Int(first >> 6)] >> UInt64(first & 63)
      if free != 0 {
        let found = first + UInt32(free.trailingZeroBitCount)
        return found <= range.upperBound.rawValue ? PASID(found) : nil
      }
      first = (first >> 6 + 1) << 6
    }
    return nil
  }
}

extension ClosedRange<PASID> {
  /// All but that of the device itself.
  public static var all: Self { PASID(uncheckedRawValue: 1)...PASID.highest }

  /// Those that a device of this width has; nil where it has none.
  /// - Parameter pasidBits: 0 to 20.
  public static func fitting(pasidBits: Int) -> Self? {
    guard (1...20).contains(pasidBits), let last = PASID(1 << UInt32(pasidBits) - 1) else { return nil }
    return PASID(uncheckedRawValue: 1)...last
  }
}
