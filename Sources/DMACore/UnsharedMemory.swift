// SPDX-License-Identifier: Apache-2.0
internal import CLibNUMA
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

/// How large the pages behind memory are.
public enum MemoryPageSize: Sendable {
  /// The system's ordinary pages, made huge by the kernel where it can.
  case standard
  /// Reserved huge pages of 2 MiB.
  case huge2MiB
  /// Reserved huge pages of 1 GiB.
  case huge1GiB

  /// In bytes.
  public var byteCount: Int {
    switch self {
    case .standard: Int(sysconf(CInt(_SC_PAGESIZE)))
    case .huge2MiB: 1 << 21
    case .huge1GiB: 1 << 30
    }
  }

  var log2: Int {
    switch self {
    case .standard: 0
    case .huge2MiB: 21
    case .huge1GiB: 30
    }
  }
}

/// Memory for DMA that no device can reach yet, or any more: this process's alone.
///
/// It is zeroed, page aligned, and stays with this process over a fork (a child does not see it): a copy on
/// write after a fork would otherwise move the parent's pages away from under a device.
public struct UnsharedMemory: ~Copyable, Sendable {
  private let pages: MemoryPages

  /// The length in bytes: whole pages.
  public var byteCount: Int { pages.byteCount }

  /// Allocates at least `byteCount` bytes, rounded up to whole pages.
  /// - Parameters:
  ///   - byteCount: At least 1.
  ///   - pageSize: Of which pages.
  ///   - node: The NUMA node that the pages must come from, such as the function's own; nil for any.
  /// - Throws: `KernelError` for `mmap` (`ENOMEM`: no huge page is reserved; the remedy says how), `madvise`
  ///   or `mbind` (`EINVAL`: no such node).
  public init(
    byteCount: Int, pageSize: MemoryPageSize = .standard, on node: NUMANode? = nil
  ) throws(KernelError) {
    let unit = pageSize.byteCount
    guard byteCount > 0, byteCount <= Int.max - unit else {
      throw KernelError(
        operation: "allocate memory", errno: .invalidArgument, subject: "\(byteCount) bytes",
        remedy: "ask for at least one byte")
    }
    let rounded = (byteCount + unit - 1) / unit * unit
    let pages = try Self.allocate(rounded, pageSize)
    let (base, count) = unsafe (pages.baseAddress, UInt64(rounded))
    try Self.keepOverFork(pages)
    if let node {
      try kernelCall("mbind", on: "\(rounded) bytes, NUMA node \(node.number)") {
        unsafe clibnuma_bind(base, UInt(count), CInt(node.number))
      }
    }
    self.pages = try MemoryPages(pages)
  }

  private static func allocate(
    _ byteCount: Int, _ pageSize: MemoryPageSize
  ) throws(KernelError) -> MappedMemory {
    do throws(KernelError) {
      return try MappedMemory.anonymous(byteCount: byteCount, hugePageSizeLog2: pageSize.log2)
    } catch {
      guard pageSize != .standard else { throw error }
      throw error.advising(
        "needs \(byteCount / pageSize.byteCount) free huge pages; reserve them in "
          + "/sys/kernel/mm/hugepages/hugepages-\(pageSize.byteCount >> 10)kB/nr_hugepages")
    }
  }

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
    try Self.keepOverFork(mapping)
    pages = try MemoryPages(mapping)
  }

  init(_ pages: MemoryPages) { self.pages = pages }

  private static func keepOverFork(_ mapping: borrowing MappedMemory) throws(KernelError) {
    let (base, count) = unsafe (mapping.baseAddress, mapping.byteCount)
    try kernelCall("madvise", on: "\(count) bytes, MADV_DONTFORK") {
      unsafe abi_madvise(base, UInt64(count), MADV_DONTFORK)
    }
  }

  consuming func intoPages() -> MemoryPages { pages }

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

  /// The node that the page at a place in this memory lies on, once it was touched.
  /// - Throws: `KernelError` for `move_pages`: `ENOENT` for a page that is not there yet.
  public borrowing func node(ofPageAt byteOffset: Int) throws(KernelError) -> NUMANode {
    precondition(byteOffset >= 0 && byteOffset < byteCount, "a place inside the memory")
    let address = unsafe pages.baseAddress + byteOffset
    return NUMANode(
      number: Int(
        try kernelCall("move_pages", on: "page at \(byteOffset)") { unsafe clibnuma_node_of_page(address) }))
  }
}
