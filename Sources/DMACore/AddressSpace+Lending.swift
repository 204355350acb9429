// SPDX-License-Identifier: Apache-2.0
internal import CMMIO
public import LinuxHandles
internal import SystemPackage

extension AddressSpace {
  /// Lets devices reach whole pages of somebody's memory for the length of one call.
  ///
  /// Unlike memory that is exposed, it is not this library's: nobody keeps it mapped in this process but the caller, no
  /// ledger has it, and what else lies in its pages is reached too. So it is unmapped from the devices in any case
  /// before this returns. Without an IOMMU that would not keep a device off, and nothing is lent.
  /// - Parameters:
  ///   - base: A multiple of ``granuleByteCount``; stays mapped in this process during the call.
  ///   - byteCount: A multiple of ``granuleByteCount``, at least one.
  ///   - access: What the *devices* may do.
  ///   - addressBits: How many address bits they drive.
  ///   - body: Lets a device do its transfers, and ends when none of them can come any more.
  /// - Throws: `KernelError`: `EOPNOTSUPP` without an IOMMU; else as ``expose(_:access:sharing:at:addressBits:)``. Where
  ///   the unmap call fails, the addresses are not used again, and the kernel keeps the pages pinned; a call of
  ///   ``endAllExposures()`` meanwhile unmaps them first, and fails it too.
  @unsafe
  public func lendPages<Value>(
    at base: UnsafeMutableRawPointer, byteCount: Int, access: DMAAccess, addressBits: Int = 64,
    to body: (IOVARange) -> Value
  ) throws(KernelError) -> Value {
    let range = try reservations.take(
      at: nil, byteCount: byteCount, alignment: granuleByteCount, granule: granuleByteCount,
      upTo: .highest(addressBits: addressBits), in: label)
    do throws(KernelError) {
      try unsafe mapPages(base, to: range, access: access, sharing: .streaming)
    } catch {
      reservations.giveBack(range)
      throw error
    }
    var answer: Value?
    var refusal: KernelError?
    do throws(KernelError) {
      try checkTranslation(of: range)
      synchronize(range, .forDevice)
      cmmio_write_barrier()
      answer = body(range)
      cmmio_read_barrier()
      synchronize(range, .forCPU)
    } catch {
      refusal = error
    }
    try unmapPages(range)
    reservations.giveBack(range)
    if let refusal { throw refusal }
    guard let answer else { preconditionFailure("there is an answer or a refusal") }
    return answer
  }

  /// Refuses an address space whose addresses are those of physical memory.
  private func checkTranslation(of range: IOVARange) throws(KernelError) {
    guard try busAddress(of: range) != range.start else { return }
    throw KernelError(
      operation: "lend memory", errno: .notSupported, subject: label,
      remedy:
        "without an IOMMU nothing keeps a device off memory that it got for a call; expose memory instead")
  }
}
