// SPDX-License-Identifier: Apache-2.0
import Testing
import VDUSE
import VDUSEBlock

/// What a disk offers to its driver.
@Suite struct BlockOfferTests {
  private static func description(queueSize: Int = 1024, hasTables: Bool = false) -> VDUSEDeviceDescription {
    BlockService(
      DiskImage(nullByteCount: 1 << 20), identity: "d", queueSize: queueSize, offersIndirectTables: hasTables
    ).description(name: "d")
  }

  /// Linux's driver makes a table for each request where it may, and maps it.
  @Test func indirectTablesAreOfferedOnlyWhenAskedFor() {
    #expect(Self.description().features & VirtioFeature.indirectDescriptors == 0)
    #expect(Self.description(hasTables: true).features & VirtioFeature.indirectDescriptors != 0)
  }

  /// Without tables, a request must fit the ring with its head and its status.
  @Test(arguments: [(4, 2), (64, 62), (256, 254), (1024, 254)])
  func aRequestFitsTheRing(_ queueSize: Int, _ segmentLimit: UInt8) {
    let configuration = Self.description(queueSize: queueSize).configuration
    // Behind the capacity (8 bytes) and the limit of a segment's size (4).
    #expect(configuration[12..<16].elementsEqual([segmentLimit, 0, 0, 0]))
  }
}
