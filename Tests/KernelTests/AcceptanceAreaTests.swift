// SPDX-License-Identifier: Apache-2.0
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// The kernel's fixture iommufd_ioas, written anew: mappings made, ended and copied, and what destroying asks for.
  @Suite struct AcceptanceAreaTests {
    private let page = TestMemory.page

    @Test(arguments: IOASVariant.allCases)
    func ioasAutoDestroy(_ variant: IOASVariant) throws {
      let leaks = LeakCheck { $0.hasPrefix("/dev/iommu") }
      try IOASFixture.with(variant) { fixture in
        let usable = try fixture.space.usableAddresses()
        #expect(!usable.ranges.isEmpty)
      }
      try leaks.verify()
    }

    /// Lets go of an address space and looks whether the object went with it.
    private func checkDestruction(_ variant: IOASVariant, mapping isMapped: Bool) throws {
      let context = try IOMMUFDContext()
      let memory = try TestMemory(page)
      var space: IOAS? = try IOAS(in: context)
      let id = try #require(space?.id)
      var devices: [MockDevice] = []
      for _ in 0..<variant.deviceCount { devices.append(try MockDevice(attachedTo: id, in: context)) }
      if isMapped { try space?.map(memory, at: MockIOMMU.aperture.start) }
      if variant.hasDevice {
        refused(.resourceBusy) { try context.destroyForTest(id) }
        // The devices go first, as they would if they held it.
        for device in devices { try device.destroy() }
        devices = []
      }
      space = nil
      refused(.noSuchFileOrDirectory) { try context.destroyForTest(id) }
    }

    @Test(arguments: IOASVariant.allCases)
    func ioasDestroy(_ variant: IOASVariant) throws { try checkDestruction(variant, mapping: false) }

    @Test(arguments: IOASVariant.allCases)
    func ioasAreaDestroy(_ variant: IOASVariant) throws { try checkDestruction(variant, mapping: true) }

    @Test(arguments: IOASVariant.allCases)
    func ioasAreaAutoDestroy(_ variant: IOASVariant) throws {
      let leaks = LeakCheck { $0.hasPrefix("/dev/iommu") }
      try IOASFixture.with(variant) { fixture in
        let memory = try TestMemory(page)
        for index in 0..<10 { try fixture.space.map(memory, at: fixture.place(index)) }
      }
      try leaks.verify()
    }

    @Test(arguments: IOASVariant.allCases)
    func area(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let space = fixture.space
        let memory = try TestMemory(2 * page)
        refused(.noSuchFileOrDirectory) { try space.unmap(fixture.base, page) }
        for index in 0..<10 { try space.map(memory, 0..<page, at: fixture.place(index)) }
        for index in 0..<10 { #expect(try space.unmap(fixture.place(index), page) == page) }
        // A half goes only with the whole.
        try space.map(memory, at: fixture.place(16))
        refused(.noSuchFileOrDirectory) { try space.unmap(fixture.place(16), page) }
        refused(.noSuchFileOrDirectory) { try space.unmap(fixture.place(17), page) }
        // What overlaps: the same, from below, from above, inside, around.
        let around = try TestMemory(4 * page)
        for (start, count) in [(16, 2), (15, 2), (17, 2), (16, 1), (15, 4)] {
          refused(.fileExists) {
            try space.map(around, 0..<count * page, at: fixture.place(start))
          }
        }
        #expect(try space.unmapAll() == 2 * page)
        #expect(try space.unmapAll() == 0)
      }
    }

    @Test(arguments: IOASVariant.allCases)
    func unmapFullyContainedAreas(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let space = fixture.space
        let memory = try TestMemory(8 * page)
        for index in 0..<4 { try space.map(memory, at: fixture.place(16 + 16 * index)) }
        // A part of the first, a part of the last.
        refused(.noSuchFileOrDirectory) { try space.unmap(fixture.place(20), 8 * page) }
        refused(.noSuchFileOrDirectory) { try space.unmap(fixture.place(60), 8 * page) }
        #expect(try space.unmap(fixture.place(10), 80 * page) == UInt64(32 * page))
        refused(.noSuchFileOrDirectory) { try space.unmap(fixture.place(16), 8 * page) }
      }
    }

    @Test(arguments: IOASVariant.allCases)
    func copyArea(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let space = fixture.space
        let memory = try TestMemory(page)
        try space.map(memory, at: fixture.place(1))
        try space.copy(fixture.place(1), page, from: space, at: fixture.place(3))
        try fixture.check(fixture.place(3), memory)
        let other = try IOAS(in: fixture.context)
        try other.copy(fixture.place(1), page, from: space, at: fixture.place(1))
        let chosen = try other.copy(fixture.place(1), page, from: space)
        #expect(chosen.start != fixture.place(1))
        #expect(try other.unmapAll() == 2 * page)
        // What was copied stays when the original goes.
        try space.unmap(fixture.place(1), page)
        try fixture.check(fixture.place(3), memory)
        let stranger = try IOAS(in: IOMMUFDContext())
        refused(.invalidArgument) { try stranger.copy(fixture.place(3), page, from: space) }
      }
    }

    /// Any part of a mapping can be copied, down to the byte where no device asks for more, and nothing beyond.
    @Test(arguments: IOASVariant.allCases)
    func copySweep(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let source = fixture.space
        let memory = try TestMemory(4 * page)
        let start = fixture.place(2)
        try source.map(memory, at: start)
        let target = try IOAS(in: fixture.context)
        let (step, there) = (511, IOVA(0x10_0000))
        var wrong: [Range<Int>] = []
        for byteCount in stride(from: 1, to: 4 * page, by: step) {
          for offset in stride(from: -step, to: 4 * page + step, by: step) {
            let from = IOVA(UInt64(Int(start.rawValue) + offset))
            let errno = refusal { () throws(KernelError) in
              try target.copy(from, byteCount, from: source, at: there)
              try target.unmap(there, byteCount)
            }
            let isInside = offset >= 0 && offset + byteCount <= 4 * page
            if errno != (isInside ? nil : .noSuchFileOrDirectory) {
              wrong.append(offset..<offset + byteCount)
            }
          }
        }
        #expect(wrong.isEmpty)
      }
    }
  }
}
