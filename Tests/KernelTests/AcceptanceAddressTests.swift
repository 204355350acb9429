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
  /// The kernel's fixture iommufd_ioas, written anew: which addresses may be used, and which the kernel chooses.
  @Suite struct AcceptanceAddressTests {
    private let page = TestMemory.page

    private func range(_ start: IOVA, pages: Int) -> IOVARange {
      IOVARange(start: start, last: start.advanced(byByteCount: pages * page - 1))
    }

    /// Maps at addresses that the kernel chooses, and unmaps all of it again.
    private func checkChoices(_ fixture: IOASFixture, _ memory: TestMemory, within allowed: [IOVARange])
      throws
    {
      let space = fixture.space
      var chosen: [IOVARange] = []
      for pages in 1...10 {
        let place = try space.map(memory, 0..<pages * page)
        let lowestBit = UInt64(pages * page) & (0 &- UInt64(pages * page))
        #expect(place.start.rawValue % lowestBit == 0, "\(place) of \(pages) pages")
        #expect(place.byteCountMinusOne == UInt64(pages * page - 1))
        #expect(allowed.contains { $0.contains(place) }, "\(place)")
        #expect(!chosen.contains { $0.overlaps(place) })
        chosen.append(place)
      }
      for place in chosen { try space.unmapBytes(place) }
    }

    @Test(arguments: IOASVariant.allCases)
    func areaAutoIOVA(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let space = fixture.space
        let memory = try TestMemory(16 * page)
        try checkChoices(fixture, memory, within: space.usableAddresses().ranges)
        // What is reserved is not chosen: the first place that would do, and one further up.
        try MockIOMMU.reserve(fixture.place(1), byteCount: UInt64(10 * page), of: space)
        try MockIOMMU.reserve(fixture.place(20), byteCount: UInt64(page), of: space)
        let left = try space.usableAddresses().ranges
        #expect(!left.contains { $0.overlaps(range(fixture.place(1), pages: 10)) })
        try checkChoices(fixture, memory, within: left)
        // What is reserved cannot be allowed.
        refused(.addressInUse) { try space.allow([range(fixture.place(15), pages: 10)]) }
        let allowed = [range(fixture.place(32), pages: 64), range(fixture.place(1 << 12), pages: 64)]
        try space.allow(allowed)
        try checkChoices(fixture, memory, within: allowed)
        // More than the ranges have together finds no place; a given address is not bound by them.
        let large = try TestMemory(128 * page)
        refused(.noSpace) { try space.map(large) }
        try space.map(memory, at: fixture.place(1 << 10))
      }
    }

    /// Room for a mapping is left only at the very end of the addresses, where rounding up would overflow.
    @Test(arguments: IOASVariant.allCases)
    func reservedOverflow(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let memory = try TestMemory(8 * page)
        try MockIOMMU.reserve(IOVA(8), byteCount: .max - 8 - 0x6fff, of: fixture.space)
        refused(.noSpace) { try fixture.space.map(memory, 0..<5 * page) }
      }
    }

    @Test(arguments: IOASVariant.allCases)
    func areaAllowed(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let space = fixture.space
        let allowed = range(fixture.place(4), pages: 96)
        try space.allow([allowed])
        refused(.addressInUse) {
          try MockIOMMU.reserve(fixture.place(8), byteCount: UInt64(page), of: space)
        }
        try space.allow([])
        try MockIOMMU.reserve(fixture.place(8), byteCount: UInt64(page), of: space)
        refused(.addressInUse) { try space.allow([allowed]) }
        // Too short, and overlapping.
        let byte = IOVARange(start: fixture.place(64), last: fixture.place(64))
        refused(.invalidArgument) { try space.allow([byte]) }
        let other = range(fixture.place(200), pages: 2)
        refused(.invalidArgument) { try space.allow([other, other]) }
      }
    }

    @Test(arguments: IOASVariant.allCases)
    func iovaRanges(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let space = fixture.space
        let whole =
          variant.hasDevice ? MockIOMMU.aperture : IOVARange(start: IOVA(0), last: IOVA(.max))
        let usable = try space.usableAddresses()
        #expect(usable.ranges == [whole])
        #expect(usable.alignment == (variant.hasDevice ? MockIOMMU.pageByteCount : 1))
        // Too little room for the answer: what fits is written, and how much there is told.
        func ask(_ capacity: UInt32) -> (CInt, count: UInt32, [UInt64]) {
          var ranges = [abi_iommu_iova_range](repeating: .init(start: 7, last: 7), count: 2)
          var command = abi_iommu_ioas_iova_ranges()
          command.ioas_id = space.id.rawValue
          let result = unsafe abi_iommu_ioas_iova_ranges(
            fixture.context.descriptor, &command, &ranges, capacity)
          return (result, command.num_iovas, ranges.flatMap { [$0.start, $0.last] })
        }
        let tooLittle = -Errno.messageTooLong.rawValue
        var (result, count, words) = ask(0)
        #expect(result == tooLittle && count == 1 && words == [7, 7, 7, 7])
        try MockIOMMU.reserve(fixture.place(4), byteCount: UInt64(page), of: space)
        let halves = [
          IOVARange(start: whole.start, last: IOVA(fixture.place(4).rawValue - 1)),
          IOVARange(start: fixture.place(5), last: whole.last),
        ]
        #expect(try space.usableAddresses().ranges == halves)
        (result, count, words) = ask(1)
        #expect(result == tooLittle && count == 2)
        #expect(words == [halves[0].start.rawValue, halves[0].last.rawValue, 7, 7])
        // What is handed out here follows when it is asked anew.
        try space.refreshAllowedRanges()
        #expect(space.reservations.allowed == halves)
      }
    }

    @Test(arguments: IOASVariant.allCases)
    func ioasOptionHugePages(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let space = fixture.space
        #expect(try space.usesHugePages())
        try space.setUsesHugePages(false)
        #expect(try !space.usesHugePages())
        let (fd, id) = (fixture.context.descriptor, space.id.rawValue)
        let wrong = abi_iommu_option_set(fd, ABI_IOMMU_OPTION_HUGE_PAGES, id, 2)
        #expect(wrong == -Errno.invalidArgument.rawValue)
        try space.setUsesHugePages(true)
        #expect(try space.usesHugePages())
      }
    }

    /// Every length up to two pages.
    @Test(arguments: IOASVariant.allCases)
    func ioasIOVAAlloc(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let space = fixture.space
        let memory = try TestMemory(2 * page)
        var wrong: [Int] = []
        for byteCount in 1..<2 * page {
          var unmapped: UInt64 = 0
          let errno = refusal { () throws(KernelError) in
            unmapped = try space.unmapBytes(space.map(memory, 0..<byteCount))
          }
          let isAligned = !variant.hasDevice || byteCount % MockIOMMU.pageByteCount == 0
          if errno != (isAligned ? nil : .invalidArgument) || unmapped != (isAligned ? UInt64(byteCount) : 0)
          {
            wrong.append(byteCount)
          }
        }
        #expect(wrong.isEmpty)
      }
    }

    /// Without large pages everything is of whole pages; the kernel does not change its mind about what is mapped.
    @Test(arguments: IOASVariant.allCases)
    func ioasAlignChange(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let space = fixture.space
        let memory = try TestMemory(4 * page)
        try space.map(memory, 0..<page, at: fixture.place(1))
        guard !variant.hasDevice else {
          // A device's page table is full already.
          return refused(.invalidArgument) { try space.setUsesHugePages(false) }
        }
        try space.setUsesHugePages(false)
        refused(.invalidArgument) { try space.map(memory, 0..<page - 1, at: fixture.place(8)) }
        refused(.invalidArgument) { try space.map(memory, 0..<page, at: fixture.place(8, bytes: 1)) }
        try space.setUsesHugePages(true)
        try space.map(memory, 0..<page - 1, at: fixture.place(8, bytes: 1))
        refused(.addressInUse) { try space.setUsesHugePages(false) }
      }
    }
  }
}
