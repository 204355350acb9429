// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// The kernel's fixture iommufd_mock_domain, written anew: what page tables hold of what is mapped.
  @Suite struct AcceptanceDomainTests {
    enum Variant: String, CaseIterable, Sendable, CustomTestStringConvertible {
      case oneDomain = "one_domain"
      case twoDomains = "two_domains"
      case oneDomainHugePage = "one_domain_hugepage"
      case twoDomainsHugePage = "two_domains_hugepage"
      case oneDomainFile = "one_domain_file"
      case oneDomainFileHugePage = "one_domain_file_hugepage"

      var deviceCount: Int { self == .twoDomains || self == .twoDomainsHugePage ? 2 : 1 }
      var hasHugePages: Bool {
        switch self {
        case .oneDomainHugePage, .twoDomainsHugePage, .oneDomainFileHugePage: true
        default: false
        }
      }
      var isFile: Bool { self == .oneDomainFile || self == .oneDomainFileHugePage }
      var testDescription: String { rawValue }

      /// The size of a page of the kind.
      var unit: Int { hasHugePages ? TestMemory.hugePage : TestMemory.page }
      /// Memory of so many of them.
      func memory(_ count: Int) throws -> TestMemory {
        let kind: TestMemory.Kind =
          isFile ? (hasHugePages ? .hugeFile : .file) : (hasHugePages ? .hugePages : .pages)
        return try TestMemory(count * unit, kind)
      }
    }

    private let page = TestMemory.page

    @Test(arguments: Variant.allCases)
    func basic(_ variant: Variant) throws {
      let fixture = try IOASFixture(deviceCount: variant.deviceCount)
      let (space, unit) = (fixture.space, variant.unit)
      let one = try variant.memory(1)
      let place = try space.map(one)
      try fixture.check(place.start, one)
      try space.unmapBytes(place)
      if variant.isFile {
        refused(.invalidArgument) {
          let file = try OwnedDescriptor.duplicating(#require(one.fileNumber))
          _ = try space.mapBytes(of: file, 0..<UInt64(2 * unit), access: .readWrite)
        }
        let cut = try variant.memory(2)
        try cut.truncateFile(to: unit)
        refused(.invalidArgument) { try space.map(cut) }
        try cut.truncateFile(to: 0)
        refused(.invalidArgument) { try space.map(cut) }
      } else {
        // A hole in the middle, and at the first page.
        let holed = try variant.memory(4)
        try holed.punch(2 * unit..<3 * unit)
        refused(.badAddress) { try space.map(holed) }
        try holed.checkPins(0..<2 * unit, are: 0, in: fixture.context)
        try holed.punch(0..<unit)
        refused(.badAddress) { try space.map(holed) }
      }
      #expect(try space.unmapAll() == 0)
    }

    /// A page that a device only reads is made this process's own all the same: it does not change under the device.
    @Test(arguments: Variant.allCases)
    func roUnshare(_ variant: Variant) throws {
      let fixture = try IOASFixture(deviceCount: variant.deviceCount)
      let memory = try TestMemory(privatelyMapping: page)
      let place = try fixture.space.map(memory, access: .read)
      try fixture.check(place.start, memory)
      memory[0] = 0x77
      try fixture.check(place.start, memory)
      let access = try MockAccess(to: fixture.space, pinsPages: false)
      let buffer = try TestMemory(page)
      try unsafe access.read(place.start, into: buffer.bytes())
      #expect(buffer[0] == 0x77)
      refused(.notPermitted) { try unsafe access.write(place.start, from: buffer.bytes()) }
    }

    /// Maps every part of memory, by steps of the IOMMU's page, or of a sixteenth of the whole.
    private func forEachPart(
      _ variant: Variant, _ body: (IOASFixture, TestMemory, Range<Int>, IOVARange) throws -> Void
    ) throws {
      let fixture = try IOASFixture(deviceCount: variant.deviceCount)
      let memory = try variant.memory(variant.hasHugePages ? 2 : 8)
      let step = variant.hasHugePages ? memory.byteCount / 16 : MockIOMMU.pageByteCount
      for start in stride(from: 0, to: memory.byteCount, by: step) {
        for end in stride(from: start + step, through: memory.byteCount, by: step) {
          let place = try fixture.space.map(memory, start..<end)
          try fixture.check(place.start, memory, start..<end)
          // Pins are counted on ordinary pages, and on whole ones.
          let whole = start / page * page..<(end + page - 1) / page * page
          try memory.checkPins(whole, are: 1, in: fixture.context)
          try body(fixture, memory, start..<end, place)
          try fixture.space.unmapBytes(place)
        }
      }
      try memory.checkPins(are: 0, in: fixture.context)
    }

    @Test(arguments: Variant.allCases)
    func allAligns(_ variant: Variant) throws {
      try forEachPart(variant) { _, _, _, _ in }
    }

    /// The same while one more page table comes and goes.
    @Test(arguments: Variant.allCases)
    func allAlignsCopy(_ variant: Variant) throws {
      try forEachPart(variant) { fixture, memory, part, place in
        let device = try fixture.addDevice()
        try fixture.check(place.start, memory, part)
        let whole = part.lowerBound / page * page..<(part.upperBound + page - 1) / page * page
        try memory.checkPins(whole, are: 1, in: fixture.context)
        fixture.devices.removeLast()
        let table = device.pageTable
        try device.destroy()
        // One that was made by hand stays when its device goes.
        try fixture.context.destroyForTest(table)
        try memory.checkPins(whole, are: 1, in: fixture.context)
      }
    }

    /// What the kernel pinned in an address space without devices is copied to one with them, pinned as it is.
    @Test(arguments: Variant.allCases)
    func userCopy(_ variant: Variant) throws {
      let fixture = try IOASFixture(deviceCount: variant.deviceCount)
      let memory = try variant.memory(variant.hasHugePages ? 1 : 4)
      let count = memory.byteCount
      let source = try IOAS(in: fixture.context)
      let place = try source.map(memory)
      let access = try MockAccess(to: source, pinsPages: true)
      let pin = try access.pin(place.start, memory)
      let copied = try fixture.space.copy(place.start, count, from: source)
      try fixture.check(copied.start, memory, pins: 1)
      try access.unpin(pin)
      try fixture.check(copied.start, memory, pins: 1)

      // Again, with the access moved to an address space that has nothing but a copy.
      let other = try IOAS(in: fixture.context)
      let there = try other.copy(place.start, count, from: source)
      _ = try access.pin(place.start, memory)
      try access.move(to: other)
      let second = try access.pin(there.start, memory)
      let again = try fixture.space.copy(there.start, count, from: other)
      try fixture.check(again.start, memory, pins: 1)
      try source.unmapBytes(place)
      try access.unpin(second)
      try other.unmapBytes(there)
      try fixture.space.unmapBytes(copied)
      try fixture.check(again.start, memory, pins: 1)
      try fixture.space.unmapBytes(again)
      try memory.checkPins(are: 0, in: fixture.context)
      try access.close()
    }

    @Test(arguments: Variant.allCases)
    func replace(_ variant: Variant) throws {
      let fixture = try IOASFixture(deviceCount: variant.deviceCount)
      let memory = try variant.memory(1)
      let place = try fixture.space.map(memory)
      let device = fixture.devices[0]
      let first = device.pageTable
      let other = try IOAS(in: fixture.context)
      let there = try other.map(memory, at: fixture.place(512))
      // A table that the kernel made goes when nobody is attached any more.
      let second = try device.replace(with: other.id)
      #expect(second != first)
      refused(.noSuchFileOrDirectory) { try fixture.context.destroyForTest(first) }
      try device.check(there.start, memory)
      // The same again changes nothing; and back.
      #expect(try device.replace(with: other.id) == second)
      try device.replace(with: fixture.space.id)
      refused(.noSuchFileOrDirectory) { try fixture.context.destroyForTest(second) }
      try fixture.check(place.start, memory)
      if variant.deviceCount == 2 {
        let tables = fixture.devices.map(\.pageTable)
        for table in [tables[1], tables[1], tables[0]] {
          // The kernel's own is gone as soon as the device leaves it.
          if (try? device.replace(with: table)) != nil { #expect(device.pageTable == table) }
          try fixture.check(place.start, memory)
        }
        #expect(device.pageTable == tables[1])
      }
    }

    @Test(arguments: Variant.allCases)
    func allocHWPT(_ variant: Variant) throws {
      let fixture = try IOASFixture(deviceCount: variant.deviceCount)
      let memory = try variant.memory(1)
      let place = try fixture.space.map(memory)
      for device in fixture.devices {
        refused(.notSupported) { _ = try fixture.pageTable(for: device, flags: 1 << 31 | 1) }
        // Plain, and one that others can be nested in.
        let tables = [
          try fixture.pageTable(for: device), try fixture.pageTable(for: device, flags: 1),
        ]
        for table in tables {
          try device.replace(with: table)
          #expect(device.pageTable == table)
          try device.check(place.start, memory)
          refused(.resourceBusy) { try fixture.context.destroyForTest(table) }
        }
        try fixture.context.destroyForTest(tables[0])
        // A new device by the table's own number.
        let other = try MockDevice(attachedTo: tables[1], in: fixture.context)
        #expect(other.pageTable == tables[1])
        try device.replace(with: fixture.space.id)
        refused(.resourceBusy) { try fixture.context.destroyForTest(tables[1]) }
        try other.destroy()
        try fixture.context.destroyForTest(tables[1])
      }
    }
  }
}
