// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing
import VFIO

extension KernelTests {
  /// The kernel's fixture vfio_compat_mock_domain, written anew: iommufd's imitation of a VFIO container.
  @Suite struct AcceptanceCompatibilityTests {
    enum Variant: String, CaseIterable, Sendable, CustomTestStringConvertible {
      case version2 = "Ver1v2"
      case version1 = "Ver1v0"
      var mode: VFIOMode { self == .version2 ? .compatType1v2 : .compatType1 }
      var testDescription: String { rawValue }
    }

    /// A context whose address space a container means, with a mock device.
    private final class Fixture {
      let context: IOMMUFDContext
      let space: IOAS
      let device: MockDevice
      let container: VFIOContainer

      init(_ variant: Variant) throws {
        context = try IOMMUFDContext()
        space = try IOAS(in: context)
        try context.setCompatibilityIOAS(space)
        device = try MockDevice(attachedTo: space)
        let fd = context.descriptor
        let type = variant == .version2 ? ABI_VFIO_TYPE1v2_IOMMU : ABI_VFIO_TYPE1_IOMMU
        try kernelCall("VFIO_SET_IOMMU") { abi_vfio_set_iommu(fd, type) }
        container = try VFIOContainer(adopting: .duplicating(fd), mode: variant.mode)
      }

      func map(_ memory: TestMemory, at iova: IOVA) throws {
        let range = IOVARange(start: iova, last: iova.advanced(byByteCount: memory.byteCount - 1))
        let base = try unsafe #require(memory.bytes().baseAddress)
        try unsafe container.mapPages(base, to: range, access: .readWrite, sharing: .coherent)
      }

      /// The call as it is: what it answers, and how much it did.
      func unmap(_ iova: IOVA, _ byteCount: Int, flags: UInt32 = 0) -> (CInt, UInt64) {
        var command = abi_vfio_iommu_type1_dma_unmap()
        command.iova = iova.rawValue
        command.size = UInt64(byteCount)
        command.flags = flags
        let result = unsafe abi_vfio_iommu_unmap_dma(context.descriptor, &command)
        return (result, command.size)
      }
    }

    private let page = TestMemory.page

    @Test(arguments: Variant.allCases)
    func simpleClose(_ variant: Variant) throws {
      let leaks = LeakCheck { $0.hasPrefix("/dev/iommu") }
      do { _ = try Fixture(variant) }
      try leaks.verify()
    }

    @Test(arguments: Variant.allCases)
    func optionHugePages(_ variant: Variant) throws {
      #expect(try Fixture(variant).space.usesHugePages() == (variant == .version2))
    }

    @Test(arguments: Variant.allCases)
    func getInfo(_ variant: Variant) throws {
      let fixture = try Fixture(variant)
      let fd = fixture.context.descriptor
      /// The answer as words of 32 bits, in a buffer that is longer than what is told.
      func ask(_ byteCount: Int) -> (CInt, [UInt32]) {
        var words = [UInt32](repeating: 0x5a5a_5a5a, count: 256)
        let result = unsafe words.withUnsafeMutableBytes { bytes in
          unsafe bytes.storeBytes(of: UInt32(byteCount), as: UInt32.self)
          unsafe bytes.storeBytes(of: 0, toByteOffset: 4, as: UInt32.self)
          return unsafe cmock_command(fd, 100 + 12, bytes.baseAddress)
        }
        return (result, words)
      }
      // The structure as it was before it had capabilities.
      let (short, head) = ask(16)
      #expect(short == 0 && head[0] > 16)
      #expect(head[1] & (ABI_VFIO_IOMMU_INFO_PGSIZES | ABI_VFIO_IOMMU_INFO_CAPS) == 3)
      let needed = Int(head[0])
      for byteCount in 16...needed {
        let (result, words) = ask(byteCount)
        #expect(result == 0 && Int(words[0]) == needed && words[1] == 3)
        let untouched = unsafe words.withUnsafeBytes { unsafe $0[byteCount...].allSatisfy { $0 == 0x5a } }
        #expect(untouched, "nothing is written past \(byteCount) bytes")
        if byteCount >= 24 { #expect(words[4] == (byteCount == needed ? 24 : 0)) }
      }
      let (_, all) = ask(needed)
      // The chain: each begins inside, at a multiple of 8, and after the one before.
      var capabilities: [UInt16: Int] = [:]
      var offset = Int(all[4])
      while offset != 0 {
        try #require(offset % 8 == 0 && offset + 8 <= needed)
        #expect(capabilities.updateValue(offset, forKey: UInt16(truncatingIfNeeded: all[offset / 4])) == nil)
        let next = Int(all[offset / 4 + 1])
        #expect(next == 0 || next > offset)
        offset = next
      }
      let ranges = try #require(capabilities[UInt16(ABI_VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)]) / 4
      #expect(all[ranges + 2] == 1)
      #expect(all[ranges + 4] == UInt32(CMOCK_APERTURE_START) && all[ranges + 5] == 0)
      #expect(all[ranges + 6] == UInt32(CMOCK_APERTURE_LAST) && all[ranges + 7] == 0)
      let available = try #require(capabilities[UInt16(ABI_VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL)]) / 4
      #expect(all[available + 2] == .max)
      // And as the library reads it.
      let info = try fixture.container.info()
      #expect(info.allowedRanges == [MockIOMMU.aperture])
      #expect(fixture.container.reservations.allowed == [MockIOMMU.aperture])
    }

    @Test(arguments: Variant.allCases)
    func map(_ variant: Variant) throws {
      let fixture = try Fixture(variant)
      let memory = try TestMemory(16 * page)
      let place = MockIOMMU.aperture.start
      try fixture.map(memory, at: place)
      try fixture.device.check(place, memory)
      #expect(fixture.unmap(place, memory.byteCount) == (0, UInt64(memory.byteCount)))
      // Nothing there is no error of VFIO.
      #expect(fixture.unmap(place, memory.byteCount) == (0, 0))

      try fixture.map(memory, at: place)
      let all = ABI_VFIO_DMA_UNMAP_FLAG_ALL
      #expect(fixture.unmap(place, 0, flags: all).0 == -Errno.invalidArgument.rawValue)
      #expect(fixture.unmap(IOVA(0), page, flags: all).0 == -Errno.invalidArgument.rawValue)
      #expect(try fixture.container.unmapAllPages() == UInt64(memory.byteCount))
      #expect(try fixture.container.unmapAllPages() == 0)

      // Page by page, in any order.
      let single = try TestMemory(page)
      for index in 0..<16 { try fixture.map(single, at: place.advanced(byByteCount: index * page)) }
      for index in (0..<16).shuffled() {
        #expect(fixture.unmap(place.advanced(byByteCount: index * page), page) == (0, UInt64(page)))
      }
    }

    /// Parts of what was mapped at once go one by one in version 1, and never in version 2.
    @Test(arguments: Variant.allCases)
    func hugeMap(_ variant: Variant) throws {
      let fixture = try Fixture(variant)
      let memory = try TestMemory(2 * TestMemory.hugePage, .hugePages)
      let place = MockIOMMU.aperture.start
      try fixture.map(memory, at: place)
      let part = memory.byteCount / 16
      for index in (0..<16).shuffled() {
        let (result, count) = fixture.unmap(place.advanced(byByteCount: index * part), part)
        if variant == .version1 {
          #expect(result == 0 && count == UInt64(part))
        } else {
          #expect(result == -Errno.noSuchFileOrDirectory.rawValue)
        }
      }
    }
  }
}
