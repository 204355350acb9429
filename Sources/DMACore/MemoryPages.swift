// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import LinuxHandles
internal import Synchronization

/// One mapping of memory and its share ledger: unmapped when the last holder lets go and no device reaches it.
///
/// ``UnsharedMemory``, ``DMAMemory`` and every ``DMAShare`` of the same memory hold it.
@safe
final class MemoryPages: @unchecked Sendable {
  let baseAddress: UnsafeMutableRawPointer
  let byteCount: Int
  let backing: MemoryBacking
  /// The memory file, where it is one.
  let file: OwnedDescriptor?
  let shares: PageShares
  /// Who unmaps the memory in our place, because a device may reach it until then.
  private let keeper = Mutex<IOVAReservations?>(nil)

  init(
    _ mapping: consuming MappedMemory, backing: MemoryBacking, file: consuming OwnedDescriptor? = nil
  ) throws(KernelError) {
    // Nobody can free a part of a reserved huge page.
    let unit =
      backing.pageSize.reservedLog2 == 0 ? MemoryPageSize.standard.byteCount : backing.pageSize.byteCount
    let byteCount = mapping.byteCount
    do throws(PageShareError) {
      shares = try PageShares(pageCount: (byteCount + unit - 1) / unit, pageByteCount: unit)
    } catch {
      throw KernelError(error, of: byteCount)
    }
    let bytes = unsafe mapping.relinquish()
    // SAFETY: a mapping has a first byte.
    unsafe baseAddress = unsafe bytes.baseAddress.unsafelyUnwrapped
    self.byteCount = bytes.count
    self.backing = backing
    self.file = file
  }

  var allPages: Range<Int> { 0..<shares.pageCount }

  func facts() throws(KernelError) -> MemoryFacts {
    try unsafe MemoryFacts(of: UnsafeRawBufferPointer(start: baseAddress, count: byteCount))
  }

  func advise(_ advice: CInt, _ name: String) throws(KernelError) {
    try kernelCall("madvise", on: "\(byteCount) bytes, \(name)") {
      unsafe abi_madvise(baseAddress, UInt64(byteCount), advice)
    }
  }

  /// Another descriptor of the memory file.
  func duplicateFile() throws(KernelError) -> OwnedDescriptor? {
    switch file {
    case .some(let file): try file.duplicate()
    case .none: nil
    }
  }

  /// Leaves the unmapping to an address space that could not take its devices' access back.
  func park(in reservations: IOVAReservations) {
    let isLeaked = keeper.withLock { keeper in
      guard let first = keeper else {
        unsafe reservations.park(baseAddress, byteCount: byteCount)
        // Held from here too: other spaces' shares may last longer than that one.
        keeper = reservations
        return false
      }
      return first !== reservations
    }
    // Two address spaces failed. One cannot wait for the other, so that the memory stays for good.
    if isLeaked { _ = unsafe Unmanaged.passRetained(self) }
  }

  /// Gives the mapping to another owner.
  /// - Throws: `PageShareError`: `shared`, naming the holders. The memory then stays mapped for good.
  func donate() throws(PageShareError) -> MappedMemory {
    try shares.donate(allPages)
    return unsafe MappedMemory(adopting: baseAddress, byteCount: byteCount)
  }

  deinit {
    guard keeper.withLock({ $0 == nil }) else { return }
    do throws(PageShareError) {
      try shares.donate(allPages)
      _ = unsafe abi_munmap(baseAddress, UInt64(byteCount))
    } catch {
      // Given to another owner, or reached by a device that nobody took it back from: not ours to unmap.
    }
  }
}

extension KernelError {
  /// What the ledger refuses, as the kernel would say it.
  init(_ error: PageShareError, of byteCount: Int) {
    let remedy: String
    switch error.code {
    case .shared: remedy = "end the shares of \(error.holders.joined(separator: ", ")) first"
    case .deviceMemory: remedy = "give a device's memory to another device as a dma-buf"
    case .saturated:
      remedy = "end shares of \(Set(error.holders).sorted().joined(separator: ", ")) that are not needed"
    default: remedy = error.code.description
    }
    self.init(
      operation: "share pages", errno: error.errno,
      subject: "page \(error.page) of memory of \(byteCount) bytes", remedy: remedy)
  }
}
