// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles

/// Memory for DMA that no device can reach yet, or any more: this process's alone.
///
/// It is zeroed, page aligned, and stays with this process over a fork (a child does not see it): a copy on
/// write after a fork would otherwise move the parent's pages away from under a device.
public struct UnsharedMemory: ~Copyable, Sendable {
  let pages: MemoryPages

  /// The length in bytes: whole pages.
  public var byteCount: Int { pages.byteCount }

  /// Takes over memory that something else mapped, such as a guest's or a file's.
  ///
  /// What it is, is asked of the kernel: a device's memory (a BAR, a dma-buf) is refused. A child of this
  /// process does not see it any more.
  /// - Throws: `KernelError`: `EFAULT` for a device's memory; for /proc/self/smaps or `madvise`. The mapping is
  ///   unmapped then.
  public init(adopting mapping: consuming MappedMemory) throws(KernelError) {
    let (base, count) = unsafe (mapping.baseAddress, mapping.byteCount)
    guard try unsafe !MemoryFacts(of: UnsafeRawBufferPointer(start: base, count: count)).isDeviceMemory else {
      throw KernelError(PageShareError(.deviceMemory, pages: 0..<1, page: 0), of: count)
    }
    let pages = try MemoryPages(mapping, backing: MemoryBacking(kind: .adopted, pageSize: .standard))
    try pages.advise(MADV_DONTFORK, "MADV_DONTFORK")
    self.pages = pages
  }

  init(_ pages: MemoryPages) { self.pages = pages }

  consuming func intoPages() -> MemoryPages { pages }

  /// What it was obtained from.
  public var backing: MemoryBacking { pages.backing }

  /// What the kernel says about this memory.
  /// - Throws: `KernelError` for /proc/self/smaps.
  public var facts: MemoryFacts { get throws(KernelError) { try pages.facts() } }

  /// The ledger of who reaches this memory: nobody, as long as it is unshared.
  public var shares: PageShares { pages.shares }

  /// Gives the mapping to another owner: the caller unmaps it, or moves it where it likes.
  /// - Throws: `PageShareError`: `shared`, naming the holders, where somebody shared pages of it past this
  ///   type. The memory then stays mapped for good: a device may reach it.
  public consuming func relinquish() throws(PageShareError) -> MappedMemory { try pages.donate() }

  /// All bytes, exclusively: no device has an address of them.
  public var bytes: MutableRawSpan {
    @_lifetime(&self)
    mutating get {
      let buffer = unsafe UnsafeMutableRawBufferPointer(start: pages.baseAddress, count: pages.byteCount)
      let span = unsafe buffer.mutableBytes
      return unsafe _overrideLifetime(span, mutating: &self)
    }
  }
}
