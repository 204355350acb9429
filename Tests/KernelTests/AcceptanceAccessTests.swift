// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// The kernel's fixture iommufd_ioas, written anew: memory reached from inside the kernel, and of other processes.
  @Suite struct AcceptanceAccessTests {
    private let page = TestMemory.page

    /// Pins outlast the devices: a table of huge pages goes while the kernel keeps one page of them.
    ///
    /// One page: where it keeps two at the border of two huge pages, Linux 7.3 unmaps a page of a large entry and
    /// complains (iommu_unmap_nofail), whoever the caller is.
    @Test(arguments: IOASVariant.allCases)
    func accessDomainDestroy(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let space = fixture.space
        let memory = try TestMemory(2 * TestMemory.hugePage, .hugePages)
        let place = fixture.base.advanced(byByteCount: TestMemory.hugePage)
        try space.map(memory, at: place)
        let device = try MockDevice(attachedTo: space)
        let access = try MockAccess(to: space, pinsPages: true)
        let part = page..<2 * page
        let pin = try access.pin(place.advanced(byByteCount: part.lowerBound), memory, part)
        try device.destroy()
        for device in fixture.devices { try device.destroy() }
        try access.unpin(pin)
        try space.unmap(place, memory.byteCount)
        try access.close()
      }
    }

    @Test(arguments: IOASVariant.allCases)
    func accessPin(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let space = fixture.space
        let memory = try TestMemory(16 * page)
        let inTables: UInt32 = variant.hasDevice ? 1 : 0
        let place = fixture.place(2)
        try space.map(memory, at: place)
        let access = try MockAccess(to: space, pinsPages: true)
        for pages in 1...16 {
          let part = 0..<pages * page
          let first = try access.pin(place, memory, part)
          let second = try access.pin(place, memory, part)
          // The kernel counts its own uses of a page; the page is pinned once.
          try memory.checkPins(part, are: 1, in: fixture.context)
          // A table that comes while pages are pinned takes the pages from there, and leaves them there.
          let device = try MockDevice(attachedTo: space)
          try device.check(place, memory)
          try device.destroy()
          try access.unpin(first)
          try memory.checkPins(part, are: 1, in: fixture.context)
          try access.unpin(second)
          try memory.checkPins(are: inTables, in: fixture.context)
          refused(.noSuchFileOrDirectory) { try access.unpin(second) }
        }
        try fixture.check(place, memory)
        try space.unmap(place, memory.byteCount)
        try memory.checkPins(are: 0, in: fixture.context)
        try access.close()
      }
    }

    /// An unmap takes the pages back from whoever pinned them.
    @Test(arguments: IOASVariant.allCases)
    func accessPinUnmap(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let space = fixture.space
        let memory = try TestMemory(16 * page)
        try space.map(memory, at: fixture.place(2))
        let access = try MockAccess(to: space, pinsPages: true)
        var pins: [MockAccess.Pin] = []
        for pages in [1, 3, 16] { pins.append(try access.pin(fixture.place(2), memory, 0..<pages * page)) }
        try space.unmap(fixture.place(2), memory.byteCount)
        try memory.checkPins(are: 0, in: fixture.context)
        for pin in pins { refused(.noSuchFileOrDirectory) { try access.unpin(pin) } }
        refused(.noSuchFileOrDirectory) { _ = try access.pin(fixture.place(2), memory) }
        try access.close()
      }
    }

    /// Copies through the kernel both ways and compares, around each border of two pages.
    private func checkCopies(_ fixture: IOASFixture, _ memory: TestMemory, at place: IOVA, pages: Int) throws
    {
      let access = try MockAccess(to: fixture.space, pinsPages: false)
      let buffer = try TestMemory(memory.byteCount)
      func check(_ start: Int, _ byteCount: Int, slowly: Bool) throws {
        let (part, iova) = (start..<start + byteCount, place.advanced(byByteCount: start))
        try unsafe access.read(iova, into: buffer.bytes(0..<byteCount), slowly: slowly)
        #expect(buffer.contents(0..<byteCount) == memory.contents(part))
        buffer.scramble(start ^ byteCount << 20, 0..<byteCount)
        let before = memory.contents(max(0, start - 8)..<start)
        try unsafe access.write(iova, from: buffer.bytes(0..<byteCount), slowly: slowly)
        #expect(buffer.contents(0..<byteCount) == memory.contents(part))
        #expect(before == memory.contents(max(0, start - 8)..<start))
      }
      for slowly in [false, true] {
        for byteCount in 1..<64 {
          for offset in stride(from: -50, to: 50, by: 7) {
            try check(page + offset, byteCount, slowly: slowly)
          }
        }
        try check(0, pages * page, slowly: slowly)
      }
      let nowhere = place.advanced(byByteCount: memory.byteCount)
      refused(.noSuchFileOrDirectory) { try unsafe access.read(nowhere, into: buffer.bytes(0..<1)) }
    }

    @Test(arguments: IOASVariant.allCases)
    func accessRW(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let memory = try TestMemory(8 * page)
        memory.scramble(1)
        try fixture.space.map(memory, at: fixture.place(3))
        try checkCopies(fixture, memory, at: fixture.place(3), pages: 8)
      }
    }

    /// The same where the first byte lies inside a page of the IOMMU's size, and not at a page's beginning.
    @Test(arguments: IOASVariant.allCases)
    func accessRWUnaligned(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let memory = try TestMemory(8 * page)
        memory.scramble(2)
        let place = fixture.place(3, bytes: MockIOMMU.pageByteCount)
        try fixture.space.map(memory, at: place)
        try checkCopies(fixture, memory, at: place, pages: 8)
      }
    }

    /// Another process maps memory of its own and goes, or stays.
    private func withMapper(
      _ variant: IOASVariant, stays: Bool, _ body: (IOASFixture, IOVA, UInt8) throws -> Void
    ) throws {
      try IOASFixture.with(variant) { fixture in
        let (place, byte) = (fixture.place(2), UInt8(0x5c))
        var child = cmock_child()
        try kernelCall("IOMMU_IOAS_MAP", on: "child") {
          unsafe cmock_fork_mapping(
            fixture.context.descriptor, fixture.space.id.rawValue, place.rawValue, UInt64(4 * page), byte,
            &child)
        }
        if !stays { try kernelCall("waitpid") { unsafe cmock_end_child(&child) } }
        defer { if stays { unsafe cmock_end_child(&child) } }
        try body(fixture, place, byte)
      }
    }

    private func checkBytes(_ fixture: IOASFixture, _ place: IOVA, are byte: UInt8) throws {
      let access = try MockAccess(to: fixture.space, pinsPages: false)
      let buffer = try TestMemory(4 * page)
      try unsafe access.read(place, into: buffer.bytes())
      #expect(buffer.contents(0..<4 * page).allSatisfy { $0 == byte })
      buffer[page] = 1
      try unsafe access.write(place.advanced(byByteCount: page), from: buffer.bytes(page..<page + 1))
      buffer[page] = 2
      try unsafe access.read(place, into: buffer.bytes())
      #expect(buffer[page] == 1)
      try access.close()
    }

    /// Pages that a table holds stay, whoever mapped them; those that no table holds are gone with their process.
    @Test(arguments: IOASVariant.allCases)
    func forkGone(_ variant: IOASVariant) throws {
      try withMapper(variant, stays: false) { fixture, place, byte in
        if variant.hasDevice {
          try fixture.addDevice()
          try checkBytes(fixture, place, are: byte)
        } else {
          refused(.badAddress) { try fixture.addDevice() }
        }
      }
    }

    @Test(arguments: IOASVariant.allCases)
    func forkPresent(_ variant: IOASVariant) throws {
      try withMapper(variant, stays: true) { fixture, place, byte in
        try fixture.addDevice()
        try checkBytes(fixture, place, are: byte)
      }
    }
  }
}
