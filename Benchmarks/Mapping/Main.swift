// SPDX-License-Identifier: Apache-2.0
internal import CTwinsMapping
internal import DMACore
internal import IOMMUFD
internal import LinuxHandles
internal import PCIBus
internal import VFIO

/// What mapping memory for a device costs through this library, beside the kernel's calls alone.
///
/// Runs in the lab; see Benchmarks/lab. Fails where a ratio is over its limit.
@main
enum Main {
  /// What expose and reclaim may take of what the two calls take.
  private static let mostRatio = 1.08
  /// What the two calls may take through the library, alone.
  private static let mostRatioOfCalls = 1.05
  /// How many times as fast as 4 KiB pages 2 MiB pages must be.
  private static let leastGain = 8.0
  private static let hugeByteCount = 1 << 21
  private static let largeByteCount = 1 << 28

  static func main() throws {
    guard let address = PCIAddress("0000:00:02.0") else { fatalError("an address") }
    guard twin_ordinary_pages_only() == 0 else { fatalError("PR_SET_THP_DISABLE") }
    if try !PCIBus().function(at: address).isBoundToVFIO { try DriverBinding().bind([address]) }
    var table = MappingTable()
    for mode in [VFIOMode.iommufd, .type1v2] {
      let device = try VFIODevice.open(address, mode: mode)
      let comparison = try MappingComparison(device.addressSpace)
      for (name, byteCount, pageSize) in [
        ("4 KiB", 4096, MemoryPageSize.standard), ("2 MiB", hugeByteCount, .huge2MiB),
      ] {
        let figures = try comparison.pairs(of: prepared(byteCount, pageSize))
        table.add("\(mode.rawValue), \(name), map + unmap", figures, atMost: mostRatio)
      }
      let small = try comparison.mapping(of: prepared(largeByteCount, .standard))
      let huge = try comparison.mapping(of: prepared(largeByteCount, .huge2MiB))
      table.add("\(mode.rawValue), 256 MiB of 4 KiB pages, map", small)
      table.add("\(mode.rawValue), 256 MiB of 2 MiB pages, map", huge)
      table.add("\(mode.rawValue), 256 MiB: 4 KiB pages / 2 MiB pages", small, huge, atLeast: leastGain)
      try device.close()
    }
    try measureWithoutDevice(&table)
    table.print()
  }

  /// What iommufd only notes, for no device makes it pin the page: the kernel's part is the smallest there is.
  private static func measureWithoutDevice(_ table: inout MappingTable) throws {
    let ioas = try IOAS(in: IOMMUFDContext())
    let comparison = try MappingComparison(ioas)
    let calls = try comparison.calls(of: prepared(4096, .standard), in: ioas, at: IOVA(0x10_0000))
    table.add("IOAS without a device, 4 KiB, mapBytes + unmapBytes", calls, atMost: mostRatioOfCalls)
    let pairs = try comparison.pairs(of: prepared(4096, .standard))
    table.add("IOAS without a device, 4 KiB, map + unmap", pairs)
  }

  /// Memory whose pages are there, of the size that was asked for.
  private static func prepared(_ byteCount: Int, _ pageSize: MemoryPageSize) throws -> UnsharedMemory {
    var memory = try UnsharedMemory(byteCount: byteCount, pageSize: pageSize)
    try memory.populate(threadCount: 1)
    let facts = try memory.facts
    precondition(facts.pageByteCount == pageSize.byteCount && facts.transparentHugeByteCount == 0, "\(facts)")
    return memory
  }
}
