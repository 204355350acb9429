// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import SystemPackage

/// What the kernel says about mapped memory: what it is, and of which pages it really consists.
/// - Source: /proc/self/smaps, Documentation/filesystems/proc.rst; `VmFlags` since Linux 3.8.
public struct MemoryFacts: Hashable, Sendable {
  /// Whether it is a device's memory: a BAR (`io`, `pf` of VmFlags) or a dma-buf.
  public private(set) var isDeviceMemory = false
  /// Whether a child of this process does not see it (`dc`).
  public private(set) var staysOverFork = true
  /// The page size that the mapping was made with, in bytes; the smallest one.
  public private(set) var pageByteCount = Int.max
  /// How many bytes are there, the pages that were never touched left out.
  public private(set) var residentByteCount = 0
  /// How many of those are huge pages that the kernel put in place of ordinary ones.
  public private(set) var transparentHugeByteCount = 0
  /// How many of those are reserved huge pages.
  public private(set) var reservedHugeByteCount = 0

  /// Asks about a range of this process's addresses.
  ///
  /// Where a mapping reaches further than the range, its byte
  /// counts do too; `UnsharedMemory`'s own mappings may be merged with their neighbours by the kernel.
  /// - Throws: `KernelError` for reading /proc/self/smaps; `EFAULT` where a part of the range is not mapped.
  @unsafe
  public init(of bytes: UnsafeRawBufferPointer) throws(KernelError) {
    try self.init(addresses: UInt(bitPattern: bytes.baseAddress), bytes.count)
  }

  private init(addresses start: UInt, _ byteCount: Int) throws(KernelError) {
    let end = start + UInt(byteCount)
    var covered = start
    var isMeant = false
    for line in try TextFile.contents(of: "/proc/self/smaps", limit: 1 << 28).split(separator: "\n") {
      let fields = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
      guard let name = fields.first else { continue }
      if !name.hasSuffix(":") {
        let bounds = name.split(separator: "-").compactMap { UInt($0, radix: 16) }
        guard bounds.count == 2 else { continue }
        isMeant = bounds[0] < end && bounds[1] > start
        guard isMeant else { continue }
        if bounds[0] <= covered { covered = max(covered, bounds[1]) }
        if fields.count == 6 && fields[5].contains("/dmabuf:") { isDeviceMemory = true }
      } else if isMeant {
        read(name, fields.dropFirst())
      }
    }
    guard byteCount > 0, covered >= end else {
      throw KernelError(
        operation: "read smaps", errno: .badAddress, subject: "\(byteCount) bytes",
        remedy: "a part of the range is not mapped")
    }
  }

  private mutating func read(_ name: Substring, _ values: ArraySlice<Substring>) {
    let byteCount = (values.first.flatMap { Int($0) } ?? 0) << 10
    switch name {
    case "KernelPageSize:": pageByteCount = min(pageByteCount, byteCount)
    case "Rss:": residentByteCount += byteCount
    case "AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:": transparentHugeByteCount += byteCount
    case "Private_Hugetlb:", "Shared_Hugetlb:":
      reservedHugeByteCount += byteCount
      residentByteCount += byteCount  // Rss leaves them out
    case "VmFlags:":
      let flags = values.flatMap { $0.split(separator: " ") }
      if flags.contains("io") || flags.contains("pf") { isDeviceMemory = true }
      if !flags.contains("dc") { staysOverFork = false }
    default: break
    }
  }
}
