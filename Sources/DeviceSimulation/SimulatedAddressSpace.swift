// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// An address space without an IOMMU that is stricter than one.
///
/// A *streaming* mapping has pages of its own for the device's side, zero at first, which only
/// ``synchronize(_:_:)`` copies from and to: a driver that forgets `syncForDevice` or `syncForCPU` sees
/// wrong data here and not only on a machine with bounce buffers. A *coherent* mapping shares the pages.
/// What hardware would block is blocked and kept in ``faults``.
///
/// Several simulated functions may share one. A transfer and `unmapPages` exclude each other, so that
/// memory may be unmapped while a device is busy with it.
public final class SimulatedAddressSpace: AddressSpace, DeviceView {
  /// What VT-d with a 39-bit width allows: all but the window of interrupt messages.
  /// - Source: /sys/kernel/iommu_groups/*/reserved_regions on an Intel machine (0xfee00000-0xfeefffff).
  public static let usualRanges = [
    IOVARange(start: IOVA(0), last: IOVA(0xfedf_ffff)),
    IOVARange(start: IOVA(0xfef0_0000), last: IOVA((1 << 39) - 1)),
  ]

  /// For messages.
  public let label: String
  /// 4096: the simulated IOMMU's page.
  public let granuleByteCount = 4096
  /// What is handed out of this space.
  public let reservations: IOVAReservations
  private let state = Mutex(State())

  /// Makes an empty address space.
  public init(label: String = "simulated address space", allowed: [IOVARange] = usualRanges) {
    self.label = label
    reservations = IOVAReservations(allowed: allowed)
  }

  @safe
  private struct Mapping: @unchecked Sendable {
    let base: UnsafeMutableRawPointer
    let range: IOVARange
    let access: DMAAccess
    /// The device's own pages; nil where it shares the driver's.
    let shadow: MappedShadow?

    /// Where the device's side of an address lies.
    @unsafe
    func deviceSide(of iova: IOVA) -> UnsafeMutableRawPointer {
      let start = unsafe shadow?.memory.baseAddress ?? base
      return unsafe start + Int(iova.rawValue - range.start.rawValue)
    }
  }

  private final class MappedShadow: Sendable {
    let memory: MappedMemory
    init(byteCount: Int) throws(KernelError) { memory = try MappedMemory.anonymous(byteCount: byteCount) }
  }

  private struct State {
    private(set) var mappings: [Mapping] = []  // sorted by address
    /// The device's side of each mapping, in the same order.
    private(set) var pieces: [DeviceReach.Piece] = []
    var faults: [DMAFault] = []

    mutating func insert(_ mapping: Mapping, at index: Int) {
      mappings.insert(mapping, at: index)
      // SAFETY: what a mapping names stays until it is removed.
      let base = unsafe mapping.deviceSide(of: mapping.range.start)
      pieces.insert(unsafe DeviceReach.Piece(mapping.range, at: base, access: mapping.access), at: index)
    }

    mutating func remove(at index: Int) {
      mappings.remove(at: index)
      pieces.remove(at: index)
    }

    mutating func removeAll() { (mappings, pieces) = ([], []) }

    /// The number of mappings that begin at or below an address.
    func count(through iova: IOVA) -> Int {
      // SAFETY: only numbers are looked at.
      unsafe pieces.withUnsafeBufferPointer { unsafe DeviceReach($0).count(through: iova) }
    }

    func mapping(at iova: IOVA) -> Mapping? {
      let count = count(through: iova)
      guard count > 0, iova <= mappings[count - 1].range.last else { return nil }
      return mappings[count - 1]
    }
  }

  /// The transfers that were blocked since the beginning or ``takeFaults()``, oldest first.
  public var faults: [DMAFault] { state.withLock { $0.faults } }

  /// The transfers that were blocked, and forgets them.
  public func takeFaults() -> [DMAFault] {
    state.withLock { state in
      defer { state.faults = [] }
      return state.faults
    }
  }

  /// The ranges that devices reach at present.
  public var mappedRanges: [IOVARange] { state.withLock { $0.mappings.map(\.range) } }

  /// Maps pages as described for the type.
  /// - Throws: `KernelError`: `EINVAL` for a range that is not of whole granules; `EEXIST` where something
  ///   is mapped; `ENOMEM` for `mmap` of the device's side.
  @unsafe
  public func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    try kernelCall("map", on: "\(label), \(range)") { () -> CInt in
      let mask = UInt64(granuleByteCount - 1)
      let isWhole = range.start.rawValue & mask == 0 && range.byteCountMinusOne & mask == mask
      return isWhole ? 0 : -Errno.invalidArgument.rawValue
    }
    let shadow: MappedShadow? =
      sharing == .streaming ? try MappedShadow(byteCount: Int(range.byteCountMinusOne) + 1) : nil
    let mapping = unsafe Mapping(base: base, range: range, access: access, shadow: shadow)
    let isFree = state.withLock { state in
      let index = state.count(through: range.last)
      if index > 0, state.mappings[index - 1].range.overlaps(range) { return false }
      state.insert(mapping, at: index)
      return true
    }
    guard isFree else {
      throw KernelError(operation: "map", errno: .fileExists, subject: "\(label), \(range)")
    }
  }

  /// Ends a mapping, after a transfer that is on its way.
  /// - Throws: `KernelError`: `ENOENT` where nothing is mapped at exactly this range.
  public func unmapPages(_ range: IOVARange) throws(KernelError) {
    try kernelCall("unmap", on: "\(label), \(range)") { () -> CInt in
      state.withLock { state in
        let index = state.count(through: range.start) - 1
        guard index >= 0, state.mappings[index].range == range else {
          return -Errno.noSuchFileOrDirectory.rawValue
        }
        state.remove(at: index)
        return 0
      }
    }
  }

  /// Ends all mappings.
  /// - Returns: How many bytes they had.
  public func unmapAllPages() throws(KernelError) -> UInt64? {
    var byteCount: UInt64 = 0
    try kernelCall("unmap", on: "\(label), all") { () -> CInt in
      state.withLock { state in
        byteCount = state.mappings.reduce(0) { $0 + $1.range.byteCountMinusOne + 1 }
        state.removeAll()
      }
      return 0
    }
    return byteCount
  }

  /// Copies a part of a streaming mapping: to the device's side where the device may read, from it where
  /// the device may write.
  public func synchronize(_ range: IOVARange, _ direction: DMASyncDirection) {
    state.withLock { state in
      guard let mapping = state.mapping(at: range.start), mapping.shadow != nil else { return }
      precondition(mapping.range.contains(range), "memory is synchronized inside one mapping")
      // SAFETY: the range is inside the mapping, which lasts as long as the lock is held.
      let device = unsafe mapping.deviceSide(of: range.start)
      let driver = unsafe mapping.base + Int(range.start.rawValue - mapping.range.start.rawValue)
      let byteCount = Int(range.byteCountMinusOne) + 1
      switch direction {
      case .forDevice:
        if mapping.access.contains(.read) { unsafe device.copyMemory(from: driver, byteCount: byteCount) }
      case .forCPU:
        if mapping.access.contains(.write) { unsafe driver.copyMemory(from: device, byteCount: byteCount) }
      }
    }
  }

  /// Moves bytes on behalf of a device: all of them or none.
  public func readAsDevice(at iova: IOVA, into target: inout MutableRawSpan) -> Bool {
    let byteCount = target.byteCount
    guard byteCount > 0 else { return true }
    return unsafe target.withUnsafeMutableBytes { bytes in
      // SAFETY: a span that is not empty has a first byte.
      let destination = unsafe bytes.baseAddress.unsafelyUnwrapped
      return unsafe transfer(iova, byteCount, .read) {
        unsafe copyWords(from: $0, to: destination, byteCount)
      }
    }
  }

  /// Moves bytes on behalf of a device: all of them or none.
  public func writeAsDevice(_ source: RawSpan, at iova: IOVA) -> Bool {
    let byteCount = source.byteCount
    guard byteCount > 0 else { return true }
    return unsafe source.withUnsafeBytes { bytes in
      // SAFETY: as above.
      let origin = unsafe bytes.baseAddress.unsafelyUnwrapped
      return unsafe transfer(iova, byteCount, .write) { unsafe copyWords(from: origin, to: $0, byteCount) }
    }
  }

  /// Shows where the memory lies; `unmapPages` waits meanwhile, and so does every other transfer.
  public func withReach(_ body: (inout DeviceReach) -> Void) -> Bool {
    state.withLock { state in
      // SAFETY: no mapping goes as long as the lock is held.
      unsafe state.pieces.withUnsafeBufferPointer { pieces in
        var reach = unsafe DeviceReach(pieces)
        body(&reach)
      }
    }
    return true
  }

  func record(_ fault: DMAFault) { state.withLock { $0.faults.append(fault) } }

  @unsafe
  private func transfer(
    _ iova: IOVA, _ byteCount: Int, _ access: DMAAccess, _ copy: (UnsafeMutableRawPointer) -> Void
  ) -> Bool {
    state.withLock { state in
      let reason: DMAFault.Reason
      if let mapping = state.mapping(at: iova) {
        if let range = IOVARange(start: iova, byteCount: UInt64(byteCount)), mapping.range.contains(range) {
          if mapping.access.contains(access) {
            unsafe copy(mapping.deviceSide(of: iova))
            return true
          }
          reason = .notAllowed
        } else {
          reason = .pastTheEnd
        }
      } else {
        reason = .unmapped
      }
      state.faults.append(DMAFault(iova: iova, byteCount: byteCount, access: access, reason: reason))
      return false
    }
  }
}
