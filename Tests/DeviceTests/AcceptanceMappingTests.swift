// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import DMACore
import Foundation
import IOMMUFD
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// The cases of the kernel's own test of mappings (tools/testing/selftests/vfio, vfio_dma_mapping_test).
  @Suite struct AcceptanceMappingTests {
    @Test(arguments: LabFunction.modes, [MemoryPageSize.standard, .huge2MiB, .huge1GiB])
    func mapAndUnmap(_ mode: VFIOMode, _ pageSize: MemoryPageSize) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      let reservation = try HugePageReservation(of: pageSize)
      defer { reservation.end() }
      try #require(
        reservation.isGranted,
        "the machine has no free page of \(pageSize): lab run --hugepages, --gigantic-pages")
      let memory = try UnsharedMemory(byteCount: pageSize.byteCount, pageSize: pageSize)
      let iova = IOVA(pageSize == .huge1GiB ? 1 << 32 : 0x4000_0000)
      let exposed = try space.expose(memory, access: .readWrite, at: iova)
      #expect(exposed.iova == iova && exposed.byteCount == pageSize.byteCount)
      // Version 1 may split what it maps, and the kernel shows each piece; the others map a page as one entry.
      if mode != .type1 && mode != .compatType1 {
        let levels = try #require(try IntelPageTables(of: LabFunction.edu).levels(of: iova))
        #expect(levels == IntelPageTables.levels(for: pageSize), "\(levels)")
      }
      // Unmapping checks that the kernel's answer is exactly the size.
      _ = try exposed.reclaim()
      #expect(try IntelPageTables(of: LabFunction.edu).levels(of: iova) == nil)
      let range = IOVARange(start: iova, last: IOVA(iova.rawValue + UInt64(pageSize.byteCount) - 1))
      #expect(throws: KernelError.self) { try space.unmapPages(range) }
    }

    /// One page at the very end of what is allowed, past this library's bookkeeping.
    @Test(arguments: LabFunction.modes)
    func theEndOfTheLastRangeIsUnmappedAsARange(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      let last = try #require(space.reservations.allowed.last).last
      let range = IOVARange(start: IOVA(last.rawValue - 4095), last: last)
      let memory = try MappedMemory.anonymous(byteCount: 4096)
      try unsafe space.mapPages(memory.baseAddress, to: range, access: .readWrite, sharing: .coherent)
      try space.unmapPages(range)
      #expect(throws: KernelError.self) { try space.unmapPages(range) }
    }

    /// The same page, by the call that unmaps whatever there is and tells how much that was.
    @Test(arguments: LabFunction.modes)
    func theEndOfTheLastRangeIsUnmappedWithAll(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      let last = try #require(space.reservations.allowed.last).last
      let range = IOVARange(start: IOVA(last.rawValue - 4095), last: last)
      let memory = try MappedMemory.anonymous(byteCount: 4096)
      try unsafe space.mapPages(memory.baseAddress, to: range, access: .readWrite, sharing: .coherent)
      #expect(try space.unmapAllPages() == 4096)
      #expect(throws: KernelError.self) { try space.unmapPages(range) }
    }

    /// A range that passes 2^64 cannot even be named in this library; the kernel says EOVERFLOW.
    @Test(arguments: LabFunction.modes)
    func aRangePast64BitsOverflows(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let space = device.addressSpace
      let start: UInt64 = .max - 4095
      #expect(IOVARange(start: IOVA(start), byteCount: 8192) == nil)
      let refused = #expect(throws: KernelError.self) {
        _ = try space.expose(UnsharedMemory(byteCount: 8192), access: .readWrite, at: IOVA(start))
      }
      #expect(refused?.errno == .invalidArgument)
      let memory = try MappedMemory.anonymous(byteCount: 8192)
      let address = UInt64(UInt(bitPattern: unsafe memory.baseAddress))
      let overflow = -EOVERFLOW
      if let ioas = space as? IOAS {
        var map = abi_iommu_ioas_map()
        map.flags = ABI_IOMMU_IOAS_MAP_FIXED_IOVA | ABI_IOMMU_IOAS_MAP_READABLE | ABI_IOMMU_IOAS_MAP_WRITEABLE
        map.ioas_id = ioas.id.rawValue
        (map.user_va, map.length, map.iova) = (address, 8192, start)
        #expect(unsafe abi_iommu_ioas_map(ioas.context.descriptor, &map) == overflow)
        var unmap = abi_iommu_ioas_unmap()
        (unmap.ioas_id, unmap.iova, unmap.length) = (ioas.id.rawValue, start, 8192)
        #expect(unsafe abi_iommu_ioas_unmap(ioas.context.descriptor, &unmap) == overflow)
      } else {
        let fd = try OpenFiles.descriptor(of: mode.nodePath)
        var map = abi_vfio_iommu_type1_dma_map()
        map.flags = ABI_VFIO_DMA_MAP_FLAG_READ | ABI_VFIO_DMA_MAP_FLAG_WRITE
        (map.vaddr, map.size, map.iova) = (address, 8192, start)
        #expect(unsafe abi_vfio_iommu_map_dma(fd, &map) == overflow)
        var unmap = abi_vfio_iommu_type1_dma_unmap()
        (unmap.iova, unmap.size) = (start, 8192)
        #expect(unsafe abi_vfio_iommu_unmap_dma(fd, &unmap) == overflow)
      }
    }
  }
}

/// A reserved huge page for the time of a test: one of the machine's that is free, or one more.
private struct HugePageReservation {
  private let file: String?
  private let before: Int
  /// Whether there is one that is free.
  let isGranted: Bool

  init(of pageSize: MemoryPageSize) throws {
    guard pageSize == .huge2MiB || pageSize == .huge1GiB else {
      (file, before, isGranted) = (nil, 0, true)
      return
    }
    let folder = "/sys/kernel/mm/hugepages/hugepages-\(pageSize.byteCount >> 10)kB"
    guard let text = try? String(contentsOfFile: "\(folder)/nr_hugepages", encoding: .utf8) else {
      (file, before, isGranted) = (nil, 0, false)
      return
    }
    before = Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0
    guard try Self.freeCount(folder) == 0 else {
      (file, isGranted) = (nil, true)
      return
    }
    file = "\(folder)/nr_hugepages"
    try "\(before + 1)".write(toFile: "\(folder)/nr_hugepages", atomically: false, encoding: .utf8)
    isGranted = try Self.freeCount(folder) > 0
  }

  private static func freeCount(_ folder: String) throws -> Int {
    let text = try String(contentsOfFile: "\(folder)/free_hugepages", encoding: .utf8)
    return Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0
  }

  func end() {
    if let file { try? "\(before)".write(toFile: file, atomically: false, encoding: .utf8) }
  }
}

/// What Intel's IOMMU driver shows of a function's page table in debugfs.
private struct IntelPageTables {
  /// For each mapping, by the number of its first page: how many levels of the table it takes, from the top.
  private let entries: [UInt64: Int]

  init(of address: PCIAddress) throws {
    let path = "/sys/kernel/debug/iommu/intel/\(address)/domain_translation_struct"
    let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
    let text = String(decoding: try handle.readToEnd() ?? Data(), as: UTF8.self)
    var entries: [UInt64: Int] = [:]
    for line in text.split(separator: "\n") {
      let fields = line.split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == "|" })
      guard fields.count >= 4, let page = UInt64(fields[0].dropFirst(2), radix: 16), fields[0].hasPrefix("0x")
      else { continue }
      entries[page] = fields.count - 1
    }
    self.entries = entries
  }

  /// 3: one entry of 1 GiB; 4: of 2 MiB; 5: of 4 KiB; nil where nothing is mapped.
  func levels(of iova: IOVA) -> Int? { entries[iova.rawValue >> 12] }

  /// Where memory of one page of this size is mapped as one.
  static func levels(for pageSize: MemoryPageSize) -> Int {
    switch pageSize {
    case .huge1GiB: 3
    case .huge2MiB: 4
    default: 5
    }
  }
}
