// SPDX-License-Identifier: Apache-2.0
internal import CLibNUMA
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

extension UnsharedMemory {
  /// Allocates at least `byteCount` bytes, rounded up to whole pages.
  /// - Parameters:
  ///   - byteCount: At least 1.
  ///   - pageSize: Of which pages.
  ///   - kind: Whose pages: `anonymous` or `file`.
  ///   - node: The NUMA node that the pages must come from, such as the function's own; nil for any.
  /// - Throws: `KernelError`: `EINVAL` for a size that is zero, negative or beyond the address space; for `mmap`
  ///   (`ENOMEM`: no huge page is reserved; the remedy says how), `memfd_create`, `ftruncate`, `fcntl`, `madvise`
  ///   or `mbind` (`EINVAL`: no such node).
  public init(
    byteCount: Int, pageSize: MemoryPageSize = .standard, kind: MemoryBacking.Kind = .anonymous,
    on node: NUMANode? = nil
  ) throws(KernelError) {
    self.init(try Self.allocate(byteCount, pageSize, kind, node))
  }

  /// Allocates whole pages.
  /// - Parameters:
  ///   - pageCount: Of pages of `pageSize`; at least 1.
  ///   - pageSize: Of which pages.
  ///   - kind: Whose pages: `anonymous` or `file`.
  ///   - node: The NUMA node that the pages must come from; nil for any.
  /// - Throws: `KernelError` as ``init(byteCount:pageSize:kind:on:)``.
  public init(
    pageCount: PageCount, pageSize: MemoryPageSize = .standard, kind: MemoryBacking.Kind = .anonymous,
    on node: NUMANode? = nil
  ) throws(KernelError) {
    let byteCount = pageCount.byteCount(of: pageSize) ?? .max
    try self.init(byteCount: byteCount, pageSize: pageSize, kind: kind, on: node)
  }

  private static func allocate(
    _ byteCount: Int, _ pageSize: MemoryPageSize, _ kind: MemoryBacking.Kind, _ node: NUMANode?
  ) throws(KernelError) -> MemoryPages {
    precondition(kind != .adopted, "memory is adopted by init(adopting:)")
    let unit = pageSize.byteCount
    guard byteCount > 0, byteCount <= Int.max / 2 - 2 * unit else {
      throw KernelError(
        operation: "allocate memory", errno: .invalidArgument, subject: "\(byteCount) bytes",
        remedy: byteCount > 0 ? "ask for less than the address space" : "ask for at least one byte")
    }
    let rounded = (byteCount + unit - 1) / unit * unit
    let backing = MemoryBacking(kind: kind, pageSize: pageSize)
    let pages: MemoryPages
    if kind == .file {
      let file = try Self.memoryFile(rounded, pageSize)
      // A file of huge pages has its own alignment: the kernel finds the place.
      let mapping: MappedMemory
      if pageSize == .transparent2MiB {
        mapping = try MappedMemory.anonymous(byteCount: rounded, alignment: unit).replaced(by: file)
      } else {
        mapping = try Self.advising(pageSize, rounded) { () throws(KernelError) -> MappedMemory in
          try .sharing(file, offset: 0, byteCount: rounded)
        }
      }
      pages = try MemoryPages(mapping, backing: backing, file: file)
    } else {
      let mapping = try Self.advising(pageSize, rounded) { () throws(KernelError) -> MappedMemory in
        pageSize == .transparent2MiB
          ? try .anonymous(byteCount: rounded, alignment: unit)
          : try .anonymous(byteCount: rounded, hugePageSizeLog2: pageSize.reservedLog2)
      }
      pages = try MemoryPages(mapping, backing: backing)
    }
    try pages.advise(MADV_DONTFORK, "MADV_DONTFORK")
    if pageSize == .transparent2MiB { try pages.advise(MADV_HUGEPAGE, "MADV_HUGEPAGE") }
    guard let node else { return pages }
    try pages.bind(to: node)
    // The kernel reserved huge pages of any node: better an error now than SIGBUS at the first touch.
    if pageSize.reservedLog2 != 0 { try pages.populate(threadCount: 1) }
    return pages
  }

  /// Allocates at least `byteCount` bytes of the first kind of pages that is to be had; ``backing`` tells which.
  /// - Parameters:
  ///   - sizes: In this order. Pages larger than the memory are left out.
  /// - Throws: `KernelError` as ``init(byteCount:pageSize:kind:on:)``, for the last size tried.
  public init(
    byteCount: Int, trying sizes: [MemoryPageSize], kind: MemoryBacking.Kind = .anonymous,
    on node: NUMANode? = nil
  ) throws(KernelError) {
    self.init(try Self.allocate(byteCount, trying: sizes, kind, node))
  }

  private static func allocate(
    _ byteCount: Int, trying sizes: [MemoryPageSize], _ kind: MemoryBacking.Kind, _ node: NUMANode?
  ) throws(KernelError) -> MemoryPages {
    precondition(!sizes.isEmpty, "at least one size to try")
    let fitting = sizes.filter { $0.byteCount <= max(byteCount, MemoryPageSize.standard.byteCount) }
    // No such page is free, or the kernel has none of that size: the next may do.
    let passing: Set<Errno> = [.noMemory, .invalidArgument, .badAddress, .operationNotSupportedByDevice]
    for size in fitting.dropLast() {
      do throws(KernelError) {
        return try allocate(byteCount, size, kind, node)
      } catch {
        guard passing.contains(error.errno) else { throw error }
      }
    }
    guard let last = fitting.last else {
      throw KernelError(
        operation: "allocate memory", errno: .invalidArgument, subject: "\(byteCount) bytes",
        remedy: "each page size to try is larger than the memory")
    }
    return try allocate(byteCount, last, kind, node)
  }

  /// Another descriptor of the memory file behind this memory, for `IOAS_MAP_FILE` or another process; nil where
  /// the backing is no file.
  /// - Throws: `KernelError` for `dup`.
  public borrowing func duplicateFile() throws(KernelError) -> OwnedDescriptor? {
    try pages.duplicateFile()
  }

  private static func memoryFile(
    _ byteCount: Int, _ pageSize: MemoryPageSize
  ) throws(KernelError) -> OwnedDescriptor {
    let log2 = CInt(pageSize.reservedLog2)
    let file = OwnedDescriptor(
      adopting: try kernelCall("memfd_create", on: "\(byteCount) bytes") {
        unsafe clibnuma_memory_file("swift-vfio", log2)
      })
    let fd = file.rawValue
    try kernelCall("ftruncate", on: "\(byteCount) bytes") { clibnuma_set_file_size(fd, byteCount) }
    try kernelCall("fcntl", on: "F_ADD_SEALS") { clibnuma_seal_file_size(fd) }
    return file
  }

  private static func advising(
    _ pageSize: MemoryPageSize, _ byteCount: Int, _ map: () throws(KernelError) -> MappedMemory
  ) throws(KernelError) -> MappedMemory {
    do throws(KernelError) {
      return try map()
    } catch {
      guard pageSize.reservedLog2 != 0 else { throw error }
      throw error.advising(
        "needs \(byteCount / pageSize.byteCount) free huge pages; reserve them in "
          + "/sys/kernel/mm/hugepages/hugepages-\(pageSize.byteCount >> 10)kB/nr_hugepages")
    }
  }
}
