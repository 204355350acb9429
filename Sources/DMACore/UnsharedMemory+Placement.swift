// SPDX-License-Identifier: Apache-2.0
internal import CLibNUMA
internal import CLinuxABI
internal import Glibc
public import LinuxHandles

extension UnsharedMemory {
  /// The node that the page at a place in this memory lies on, once it was touched.
  /// - Throws: `KernelError` for `move_pages`: `ENOENT` for a page that is not there yet.
  public borrowing func node(ofPageAt byteOffset: Int) throws(KernelError) -> NUMANode {
    precondition(byteOffset >= 0 && byteOffset < byteCount, "a place inside the memory")
    let base = unsafe pages.baseAddress.assumingMemoryBound(to: CChar.self) + byteOffset
    var node: CInt = -1
    return NUMANode(
      number: Int(
        try kernelCall("move_pages", on: "page at \(byteOffset)") { () -> CInt in
          let result = unsafe clibnuma_nodes_of_pages(base, 1, 1, &node)
          return result < 0 ? result : node
        }))
  }

  /// On which nodes the pages lie: how many on each.
  ///
  /// Pages that were never touched are left out.
  /// - Throws: `KernelError` for `move_pages`.
  public borrowing func pageCountsByNode() throws(KernelError) -> [NUMANode: Int] {
    let isReserved = backing.pageSize.reservedLog2 != 0
    let unit = isReserved ? backing.pageSize.byteCount : pages.shares.pageByteCount
    let base = unsafe pages.baseAddress.assumingMemoryBound(to: CChar.self)
    var nodes = [CInt](repeating: -1, count: (byteCount + unit - 1) / unit)
    let count = CInt(clamping: nodes.count)
    try kernelCall("move_pages", on: "\(count) pages") {
      unsafe clibnuma_nodes_of_pages(base, UInt(unit), count, &nodes)
    }
    var counts: [NUMANode: Int] = [:]
    for node in nodes where node >= 0 { counts[NUMANode(number: Int(node)), default: 0] += 1 }
    return counts
  }

  /// Makes all pages present, several threads at a time where the memory is large: mapping it for a device then
  /// finds them, and takes no longer than the IOMMU needs.
  /// - Parameter threadCount: nil for one per processor, and at least 64 MiB for each.
  /// - Throws: `KernelError` for `pthread_create`, or for `madvise`: `ENOMEM` or `EFAULT` where there is no
  ///   memory, of the wanted pages and node.
  public mutating func populate(threadCount: Int? = nil) throws(KernelError) {
    try pages.populate(threadCount: threadCount)
  }
}

extension MemoryPages {
  func bind(to node: NUMANode) throws(KernelError) {
    try kernelCall("mbind", on: "\(byteCount) bytes, NUMA node \(node.number)") {
      unsafe clibnuma_bind(baseAddress, UInt(byteCount), CInt(clamping: node.number))
    }
  }

  func populate(threadCount: Int?) throws(KernelError) {
    let unit = backing.pageSize.byteCount
    let processors = max(Int(sysconf(CInt(_SC_NPROCESSORS_ONLN))), 1)
    let wanted = threadCount ?? min(processors, byteCount >> 26)
    let count = max(1, min(wanted, byteCount / unit))
    // Parts of whole pages, so that no two threads make the same one.
    let step = ((byteCount / unit + count - 1) / count) * unit
    var parts: [PopulatedPart] = []
    for start in stride(from: 0, to: byteCount, by: step) {
      let length = min(step, byteCount - start)
      parts.append(unsafe PopulatedPart(base: baseAddress + start, byteCount: length))
    }
    // This thread does the last part itself; the others are joined before anything can be thrown.
    var failure: KernelError?
    for index in parts.indices.dropLast() {
      do throws(KernelError) { try parts[index].start() } catch { failure = failure ?? error }
    }
    let own = parts[parts.count - 1].populate()
    let result = parts.dropLast().reduce(own) { min($0, $1.result()) }
    if let failure { throw failure }
    try kernelCall("madvise", on: "\(byteCount) bytes, MADV_POPULATE_WRITE") { result }
  }
}

/// A part of memory that one thread makes present.
@safe
private final class PopulatedPart: @unchecked Sendable {
  private let base: UnsafeMutableRawPointer
  private let byteCount: Int
  private var thread: OwnedThread?
  private var answer: CInt = 0

  @unsafe
  init(base: UnsafeMutableRawPointer, byteCount: Int) {
    unsafe self.base = unsafe base
    self.byteCount = byteCount
  }

  func populate() -> CInt {
    unsafe clibnuma_populate(base.assumingMemoryBound(to: CChar.self), UInt(byteCount))
  }

  func start() throws(KernelError) {
    thread = try OwnedThread { [self] in answer = populate() }
  }

  /// Waits for the thread; 0 where none was started.
  func result() -> CInt {
    thread = nil
    return answer
  }
}
