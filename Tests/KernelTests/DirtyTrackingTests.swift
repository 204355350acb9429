// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// The kernel's acceptance cases `iommufd_dirty_tracking`.
  @Suite struct DirtyTrackingTests {
    /// A buffer of so many bytes, in huge pages or not; a table of it that tracks, and its device.
    struct Fixture: ~Copyable {
      let page: PageTableFixture
      let memory: MappedMemory
      let table: HWPageTable
      let range: IOVARange
      let pageByteCount: Int

      init(_ variant: Variant, flags: MockDevice.Flags? = nil, options: HWPageTable.Options = []) throws {
        let page = try PageTableFixture(flags: flags)
        let memory = try MappedMemory.anonymous(
          byteCount: variant.byteCount, hugePageSizeLog2: variant.isHuge ? 21 : 0)
        // An entry that stands for several pages is dirty as a whole.
        try page.ioas.setUsesHugePages(variant.isHuge)
        let start = MockIOMMU.aperture.start
        let range = IOVARange(start: start, last: start.advanced(byByteCount: variant.byteCount - 1))
        try unsafe page.ioas.mapPages(memory.baseAddress, to: range, access: .readWrite, sharing: .coherent)
        table = try HWPageTable(
          of: page.ioas, for: page.devices[0], options: options.union(.dirtyTracking),
          data: variant.isHuge ? PageTableFixture.data(isHuge: true) : nil)
        self.page = page
        self.memory = memory
        self.range = range
        pageByteCount = variant.isHuge ? MockIOMMU.hugePageByteCount : 4096
      }

      var pageCount: Int { memory.byteCount / pageByteCount }

      /// Every other page and the last one, as a bitmap.
      var pattern: [UInt64] {
        var words = [UInt64](repeating: 0, count: (pageCount + 63) / 64)
        for index in stride(from: 0, to: pageCount, by: 2) { words[index / 64] |= 1 << UInt64(index % 64) }
        words[(pageCount - 1) / 64] |= 1 << UInt64((pageCount - 1) % 64)
        return words
      }
    }

    struct Variant: Sendable, CustomTestStringConvertible {
      let byteCount: Int
      let isHuge: Bool

      var testDescription: String {
        (byteCount < 1 << 20 ? "\(byteCount >> 10)k" : "\(byteCount >> 20)M") + (isHuge ? "_huge" : "")
      }
      static let all =
        [8, 16, 64, 128, 320].map { Variant(byteCount: $0 << 10, isHuge: false) }
        + [64, 128].flatMap { size in
          [false, true].map { Variant(byteCount: size << 20, isHuge: $0) }
        }
    }

    @Test(arguments: Variant.all)
    func enforceDirty(_ variant: Variant) throws {
      let fixture = try Fixture(variant)
      #expect(
        refusal { () throws(KernelError) in
          _ = try MockDevice(
            attachedTo: fixture.table.id, in: fixture.page.context, flags: .noDirtyTracking)
        } == .invalidArgument)
      let other = try MockDevice(attachedTo: fixture.page.ioas, flags: .noDirtyTracking)
      let device = other.bound(to: fixture.page.ioas)
      #expect(try !device.hardwareInfo().tracksDirtyPages)
      let error = #expect(throws: KernelError.self) {
        _ = try HWPageTable(of: fixture.page.ioas, for: device, options: .dirtyTracking)
      }
      #expect(error?.iommufdCode == .unsupportedValue)
    }

    @Test(arguments: Variant.all)
    func setDirtyTracking(_ variant: Variant) throws {
      let fixture = try Fixture(variant)
      let mock = try MockDevice(attachedTo: fixture.table.id, in: fixture.page.context)
      try fixture.table.setDirtyTracking(true)
      try fixture.table.setDirtyTracking(false)
      let plain = try HWPageTable(of: fixture.page.ioas, for: fixture.page.devices[0])
      #expect(refusal { () throws(KernelError) in try plain.setDirtyTracking(true) } == .notSupported)
      try mock.destroy()
    }

    @Test(arguments: Variant.all)
    func pasidSetDirtyTracking(_ variant: Variant) throws {
      let fixture = try Fixture(variant, flags: .pasid, options: .pasid)
      let pasid = try #require(PASID(100))
      let device = fixture.page.devices[0]
      let own = try HWPageTable(of: fixture.page.ioas, for: device, options: .pasid)
      try device.attach(to: own)
      let attachment = try device.attach(pasid, to: fixture.table)
      try fixture.table.setDirtyTracking(true)
      try fixture.table.setDirtyTracking(false)
      try attachment.detach()

      // Without PASIDs the kernel refuses; with them its mock device would be attached.
      let without = try MockDevice(attachedTo: fixture.page.ioas, flags: .noDirtyTracking)
      #expect(
        refusal { () throws(KernelError) in
          try without.attachPASID(pasid.rawValue, to: fixture.table.id)
        } == .invalidArgument)
      let other = try MockDevice(attachedTo: fixture.page.ioas, flags: [.pasid, .noDirtyTracking])
      let untracked = other.bound(to: fixture.page.ioas)
      try untracked.attach(to: try HWPageTable(of: fixture.page.ioas, for: untracked, options: .pasid))
      #expect(
        refusal { () throws(KernelError) in _ = try untracked.attach(pasid, to: fixture.table) }
          == .invalidArgument)
    }

    @Test(arguments: Variant.all)
    func deviceDirtyCapability(_ variant: Variant) throws {
      let fixture = try Fixture(variant)
      let mock = try MockDevice(attachedTo: fixture.table.id, in: fixture.page.context)
      let info = try IOMMUHardwareInfo(of: mock.deviceID, in: fixture.page.context)
      #expect(info.tracksDirtyPages && info.capabilities.contains(.dirtyTracking))
    }

    @Test(arguments: Variant.all)
    func getDirtyBitmap(_ variant: Variant) throws {
      try checkBitmaps(Fixture(variant), taking: true)
    }

    @Test(arguments: Variant.all)
    func getDirtyBitmapNoClear(_ variant: Variant) throws {
      try checkBitmaps(Fixture(variant), taking: false)
    }

    @Test func wrongQuestionsAreRefused() throws {
      let fixture = try Fixture(Variant.all[2])
      let (table, start) = (fixture.table, fixture.range.start)
      try fixture.page.devices[0].attach(to: table)
      try table.setDirtyTracking(true)
      func errno(_ first: UInt64, _ last: UInt64, pageByteCount: Int = 4096) -> Errno? {
        refusal { () throws(KernelError) in
          _ = try table.dirtyPages(
            in: IOVARange(start: IOVA(first), last: IOVA(last)), pageByteCount: pageByteCount)
        }
      }
      #expect(errno(start.rawValue + 1, start.rawValue + 4096) == .invalidArgument)
      #expect(errno(start.rawValue, start.rawValue + 4096) == .invalidArgument)
      #expect(errno(start.rawValue, start.rawValue + 4095, pageByteCount: 8192) == .invalidArgument)
      #expect(errno(0, .max) == .noMemory, "a bitmap of half a petabyte")
      // A bitmap that is not there: Linux 7.3 says nothing. The library's own has always the length of the question.
      let marked = try mark(fixture, fixture.pattern)
      for place in [UInt(4096), UInt(1) << 62] {
        guard let address = unsafe UnsafeMutableRawPointer(bitPattern: place) else { continue }
        try unsafe rawBitmap(fixture, address, taking: false)
      }
      #expect(try table.dirtyPages(in: fixture.range).dirtyPageCount == marked)
    }

    /// 64 GiB, asked for at 4 KiB: 128 MiB of huge pages, mapped 512 times by entries of 1 MiB; in a soak also by 16 Mi
    /// entries of 4 KiB.
    @Test(arguments: Lab.isSoak ? [MockIOMMU.hugePageByteCount, 4096] : [MockIOMMU.hugePageByteCount])
    func aLargeSparseTableIsRead(_ entryByteCount: Int) throws {
      let page = try PageTableFixture()
      // Of its own, because the kernel's own table of the device has a small aperture.
      let space = try IOAS(in: page.context)
      try space.setUsesHugePages(entryByteCount > 4096)
      let (byteCount, times) = (128 << 20, 512)
      let memory = try MappedMemory.anonymous(byteCount: byteCount, hugePageSizeLog2: 21)
      for number in 0..<times {
        let start = UInt64(number * byteCount)
        let range = IOVARange(start: IOVA(start), last: IOVA(start + UInt64(byteCount) - 1))
        try unsafe space.mapPages(memory.baseAddress, to: range, access: .readWrite, sharing: .coherent)
      }
      let table = try HWPageTable(
        of: space, for: page.devices[0], options: .dirtyTracking, data: PageTableFixture.data(isHuge: true))
      try table.setDirtyTracking(true)
      let entryCount = times * byteCount / entryByteCount
      var pattern = [UInt64](repeating: 0, count: entryCount / 64)
      let dirty = Array(stride(from: 3, to: entryCount, by: 10_000))
      for entry in dirty { pattern[entry / 64] |= 1 << UInt64(entry % 64) }
      let range = IOVARange(start: IOVA(0), last: IOVA(UInt64(times * byteCount) - 1))
      try MockIOMMU.markDirty(
        range, pageByteCount: entryByteCount, bitmap: pattern, of: table.id, in: page.context)
      let clock = ContinuousClock()
      let start = clock.now
      let bitmap = try table.dirtyPages(in: range)
      let asked = clock.now
      let found = Array(bitmap)
      let (asking, reading) = (asked - start, clock.now - asked)
      #expect(
        found
          == dirty.map { entry in
            let start = UInt64(entry * entryByteCount)
            return IOVARange(start: IOVA(start), last: IOVA(start + UInt64(entryByteCount) - 1))
          })
      print(
        "dirty pages of 64 GiB in entries of \(entryByteCount) bytes, emulated: asked for in \(asking), read in "
          + "\(reading) in this build")
      _ = try space.unmapAllPages()
    }

    private func checkBitmaps(_ fixture: borrowing Fixture, taking: Bool) throws {
      let (table, range, unit) = (fixture.table, fixture.range, fixture.pageByteCount)
      try fixture.page.devices[0].attach(to: table)
      try table.setDirtyTracking(true)
      let pattern = fixture.pattern
      let expected = DirtyBitmap(of: range, pageByteCount: unit, words: pattern)
      #expect(try table.dirtyPages(in: range, pageByteCount: unit).dirtyPageCount == 0)

      // The kernel's own cases: where the bitmap lies in memory does not matter.
      for offset in [0, 1024 - 8, 12] {
        #expect(try mark(fixture, pattern) == expected.dirtyPageCount)
        let byteCount = (fixture.pageCount + 7) / 8
        let memory = try MappedMemory.anonymous(byteCount: (byteCount + 1024 + 4095) & ~4095)
        let base = unsafe memory.baseAddress + offset
        try unsafe rawBitmap(fixture, base, taking: taking)
        #expect(unsafe Self.bits(base, fixture.pageCount) == Self.bits(pattern, fixture.pageCount))
        if !taking {
          unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
          try unsafe rawBitmap(fixture, base, taking: true)
          #expect(unsafe Self.bits(base, fixture.pageCount) == Self.bits(pattern, fixture.pageCount))
        }
        unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
        try unsafe rawBitmap(fixture, base, taking: true)
        #expect(unsafe Self.bits(base, fixture.pageCount).allSatisfy { !$0 })
      }

      // And as the library tells it: ranges.
      try mark(fixture, pattern)
      let found = try table.dirtyPages(in: range, pageByteCount: unit, taking: taking)
      #expect(found == expected && Array(found) == Array(expected))
      let again = try table.dirtyPages(in: range, pageByteCount: unit)
      #expect(again.dirtyPageCount == (taking ? 0 : expected.dirtyPageCount))
      #expect(try table.dirtyPages(in: range, pageByteCount: unit).dirtyPageCount == 0)
    }

    @discardableResult
    private func mark(_ fixture: borrowing Fixture, _ pattern: [UInt64]) throws -> Int {
      try MockIOMMU.markDirty(
        fixture.range, pageByteCount: fixture.pageByteCount, bitmap: pattern, of: fixture.table.id,
        in: fixture.page.context)
    }

    private func rawBitmap(
      _ fixture: borrowing Fixture, _ base: UnsafeMutableRawPointer, taking: Bool
    ) throws {
      var command = abi_iommu_hwpt_get_dirty_bitmap()
      command.hwpt_id = fixture.table.id.rawValue
      command.flags = taking ? 0 : ABI_IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR
      command.iova = fixture.range.start.rawValue
      command.length = UInt64(fixture.memory.byteCount)
      command.page_size = UInt64(fixture.pageByteCount)
      let fd = fixture.page.context.descriptor
      try kernelCall("IOMMU_HWPT_GET_DIRTY_BITMAP") {
        unsafe abi_iommu_hwpt_get_dirty_bitmap(fd, &command, base)
      }
    }

    private static func bits(_ base: UnsafeMutableRawPointer, _ count: Int) -> [Bool] {
      (0..<count).map { unsafe base.load(fromByteOffset: $0 / 8, as: UInt8.self) >> UInt8($0 % 8) & 1 != 0 }
    }

    private static func bits(_ words: [UInt64], _ count: Int) -> [Bool] {
      (0..<count).map { words[$0 / 64] >> UInt64($0 % 64) & 1 != 0 }
    }
  }
}
