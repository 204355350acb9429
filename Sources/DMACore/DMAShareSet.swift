// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// A second address space's access to several parts of memory that is exposed already.
///
/// Parts that touch or overlap are one mapping: a container has a limited number of them.
public struct DMAShareSet: ~Copyable, Sendable {
  /// An object of its own, since an array takes no value with one owner.
  private final class Part: Sendable {
    let bytes: Range<Int>
    private let exposure: Mutex<DMAExposure>
    /// The device's addresses; not the space's own range where no IOMMU translates.
    let range: IOVARange

    init(_ bytes: Range<Int>, _ exposure: consuming DMAExposure) {
      self.bytes = bytes
      range = IOVARange(
        start: exposure.busStart, last: exposure.busStart.advanced(byByteCount: bytes.count - 1))
      self.exposure = Mutex(exposure)
    }

    func end() throws(KernelError) {
      try exposure.withLock { exposure throws(KernelError) in try exposure.end() }
    }
  }
  private let parts: [Part]

  fileprivate init(
    of runs: [Range<Int>], of pages: MemoryPages, in space: any AddressSpace, access: DMAAccess,
    sharing: DMASharing, addressBits: Int
  ) throws(KernelError) {
    // Where one fails, those before it end with the array.
    var parts: [Part] = []
    for run in runs {
      let exposure = try DMAExposure.make(
        of: run, of: pages, in: space, access: access, sharing: sharing, at: nil, addressBits: addressBits)
      parts.append(Part(run, exposure))
    }
    self.parts = parts
  }

  /// How many mappings it takes.
  public var mappingCount: Int { parts.count }

  /// What is shared: bytes of the memory, merged and ascending, and the peer's addresses of them.
  public var runs: [(bytes: Range<Int>, range: IOVARange)] { parts.map { ($0.bytes, $0.range) } }

  /// The peer device's address of a byte of the memory; nil for one that is not shared.
  /// - Parameter byteOffset: In the memory, not in a part.
  public borrowing func iova(at byteOffset: Int) -> IOVA? {
    for part in parts where part.bytes.contains(byteOffset) {
      return part.range.start.advanced(byByteCount: byteOffset - part.bytes.lowerBound)
    }
    return nil
  }

  /// Takes the memory back from this address space.
  ///
  /// The caller has stopped its devices' use of it first.
  /// - Throws: `KernelError` for the first unmap call that failed; the others are made all the same.
  public consuming func unshare() throws(KernelError) {
    var failure: KernelError?
    for part in parts {
      do throws(KernelError) { try part.end() } catch { failure = failure ?? error }
    }
    if let failure { throw failure }
  }
}

extension DMAMemory {
  /// Lets the devices of a second address space reach parts of this memory, in as few mappings as can be.
  /// - Parameters:
  ///   - space: The other one.
  ///   - parts: Bytes of this memory, whole pages, in any order; those that touch or overlap become one mapping.
  ///   - access: What its *devices* may do.
  ///   - sharing: Whether data changes hands at sync calls or is seen at any time.
  ///   - addressBits: How many address bits its devices drive.
  /// - Throws: `KernelError`: `EINVAL` for no part, or one that is not of whole pages; `ENOSPC` where the space
  ///   has not as many mappings left, with the numbers, before the first is made; else as
  ///   ``AddressSpace/expose(_:access:sharing:at:addressBits:)``. No part is shared then.
  public borrowing func share(
    with space: any AddressSpace, parts: [Range<Int>], access: DMAAccess, sharing: DMASharing = .coherent,
    addressBits: Int = 64
  ) throws(KernelError) -> DMAShareSet {
    var runs: [Range<Int>] = []
    for part in parts.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      try checkPart(part, sharedWith: space)
      if let last = runs.last, part.lowerBound <= last.upperBound {
        runs[runs.count - 1] = last.lowerBound..<max(last.upperBound, part.upperBound)
      } else {
        runs.append(part)
      }
    }
    guard !runs.isEmpty else {
      throw KernelError(
        operation: "share pages", errno: .invalidArgument, subject: "no part of \(byteCount) bytes",
        remedy: "name at least one part")
    }
    try space.checkMappingBudget(for: runs.count)
    return try DMAShareSet(
      of: runs, of: exposure.pages, in: space, access: access, sharing: sharing, addressBits: addressBits)
  }
}
