// SPDX-License-Identifier: Apache-2.0
import DMACore
import Testing

import IOMMUFD

/// T0: what is read from the queues of iommufd, without a kernel.
@Suite struct QueueRecordTests {
  private func words(_ words: [UInt32]) -> [UInt8] {
    words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
  }

  private func fault(flags: UInt32, pasid: UInt32 = 0, address: UInt32, cookie: UInt32) -> [UInt8] {
    words([flags, 9, pasid, 77, 2, 0, address, 1, 4096, cookie])
  }

  @Test func faultsAreGroupedByTheirCookie() throws {
    var bytes = fault(flags: 1, pasid: 5, address: 0x1000, cookie: 1)
    bytes += fault(flags: 3, pasid: 5, address: 0x2000, cookie: 1)
    bytes += fault(flags: 2, address: 0x3000, cookie: 2)
    let groups = PageFaultGroup.groups(in: bytes[...])
    #expect(groups.map(\.cookie) == [1, 2] && groups.map(\.faults.count) == [2, 1])
    let first = try #require(groups.first?.faults.first)
    #expect(first.device == IOMMUFDObjectID(9) && first.pasid == PASID(5) && first.groupIndex == 77)
    #expect(first.access == .write && first.address == IOVA(0x1_0000_1000) && first.expectedByteCount == 4096)
    #expect(!first.isLast && groups[0].faults[1].isLast && groups[1].faults[0].pasid == nil)
    #expect(
      groups[1].response(.refused) == PageFaultResponse(cookie: 2, outcome: .refused))
  }

  /// The kernel tells whole records; whatever it tells, nothing is read past the end.
  @Test func whatIsCutOffIsLeftOut() {
    let one = fault(flags: 2, address: 1, cookie: 1)
    for count in 0..<40 { #expect(PageFaultGroup.groups(in: one[..<count]).isEmpty) }
    let two = one + fault(flags: 2, address: 1, cookie: 2)
    #expect(PageFaultGroup.groups(in: two[40...]).map(\.cookie) == [2])
  }

  @Test func lostEventsAreCounted() {
    var sequence = VirtualEvent.beforeFirst
    let data: [UInt32] = [0xaa]
    let bytes = words([0, 0, 0xaa, 0, 1, 0xaa, 0, 4, 0xaa, 1, 7])
    let events = VirtualEvent.events(in: bytes[...], dataByteCount: 4, after: &sequence)
    #expect(events.map(\.sequence) == [0, 1, 4, 7] && events.map(\.lostCount) == [0, 0, 2, 3])
    #expect(events.last?.content == .overflow && events.first?.content == .event(words(data)))
    let next = VirtualEvent.events(in: words([0, 8, 0xaa])[...], dataByteCount: 4, after: &sequence)
    #expect(next.map(\.lostCount) == [0])
  }

  @Test func numbersOfEventsBeginAnew() {
    var sequence: UInt32 = 0x7fff_fffe
    let bytes = words([0, 0x7fff_ffff, 1, 0, 0, 1])
    let events = VirtualEvent.events(in: bytes[...], dataByteCount: 4, after: &sequence)
    #expect(events.map(\.lostCount) == [0, 0])
    for count in 0..<8 {
      var sequence = VirtualEvent.beforeFirst
      #expect(VirtualEvent.events(in: bytes[..<count], dataByteCount: 4, after: &sequence).isEmpty)
    }
  }

  @Test func vendorsEventsAreWords() throws {
    var sequence = VirtualEvent.beforeFirst
    let bytes = words([0, 0, 1, 2, 3, 4, 5, 6, 7, 8])
    let event = try #require(
      VirtualEvent.events(in: bytes[...], dataByteCount: 32, after: &sequence).first)
    let expected: [UInt64] = [0x2_0000_0001, 0x4_0000_0003, 0x6_0000_0005, 0x8_0000_0007]
    #expect(event.armSMMUv3 == expected)
    #expect(event.tegra241CMDQV == nil)
  }
}
