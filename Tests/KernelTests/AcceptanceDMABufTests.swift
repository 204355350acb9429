// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// The kernel's fixture iommufd_ioas, written anew: dma-bufs.
  ///
  /// Its own program fails here in all eight runs (Linux 7.3): the test command does not answer the descriptor that it
  /// makes. ``MockIOMMU/dmaBuf(byteCount:in:)`` finds it.
  @Suite struct AcceptanceDMABufTests {
    private let page = TestMemory.page

    @Test(arguments: IOASVariant.allCases)
    func dmaBufSimple(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let space = fixture.space
        let byteCount = UInt64(2 * page)
        let file = try MockIOMMU.dmaBuf(byteCount: Int(byteCount), in: fixture.context)
        for bytes in [0..<0, byteCount..<byteCount + UInt64(page), 0..<byteCount + 1, 1..<byteCount + 1] {
          refused(.invalidArgument) { _ = try space.mapBytes(of: file, bytes, access: .readWrite) }
        }
        let place = try space.mapBytes(of: file, 0..<byteCount, access: .readWrite)
        try space.unmapBytes(place)
        // And as the library's own type.
        let dmaBuf = try DMABuf(adopting: file)
        let mapping = try space.map(dmaBuf, at: fixture.place(2))
        #expect(mapping.iova == fixture.place(2))
        let copy = try mapping.copied(to: IOAS(in: fixture.context))
        try mapping.unmap()
        try copy.unmap()
      }
    }

    @Test(arguments: IOASVariant.allCases)
    func dmaBufRevoke(_ variant: IOASVariant) throws {
      try IOASFixture.with(variant) { fixture in
        let (space, context) = (fixture.space, fixture.context)
        let bytes = 0..<UInt64(2 * page)
        let file = try MockIOMMU.dmaBuf(byteCount: 2 * page, in: context)
        let place = try space.mapBytes(of: file, bytes, at: fixture.place(2), access: .readWrite)
        try MockIOMMU.setRevoked(true, file, in: context)
        // A table that comes while it is revoked has nothing there, which is no error.
        try fixture.addDevice()
        refused(.operationNotSupportedByDevice) {
          _ = try space.mapBytes(of: file, bytes, access: .readWrite)
        }
        try MockIOMMU.setRevoked(false, file, in: context)
        let second = try space.mapBytes(of: file, bytes, access: .readWrite)
        #expect(second.start != place.start)
        try space.unmapBytes(place)
        let again = try space.mapBytes(of: file, bytes, at: place.start, access: .readWrite)
        #expect(again == place)
      }
    }
  }
}
