// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// The fixtures themselves.
  @Suite struct MockTests {
    @Test func aMockDeviceNarrowsTheAddresses() throws {
      let space = try IOAS(in: IOMMUFDContext())
      let device = try MockDevice(attachedTo: space)
      try space.refreshAllowedRanges()
      #expect(space.reservations.allowed == [MockIOMMU.aperture])
      #expect(Set([device.id, device.deviceID, device.pageTable, space.id]).count == 4)
    }

    @Test func theTableIsCompared() throws {
      let space = try IOAS(in: IOMMUFDContext())
      let device = try MockDevice(attachedTo: space)
      let pages = try MappedMemory.anonymous(byteCount: 8192)
      let bytes = unsafe UnsafeMutableRawBufferPointer(start: pages.baseAddress, count: 8192)
      let range = IOVARange(start: IOVA(1 << 24), last: IOVA(1 << 24 + 8191))
      try unsafe space.mapPages(pages.baseAddress, to: range, access: .readWrite, sharing: .coherent)
      try unsafe device.checkMap(range.start, UnsafeRawBufferPointer(bytes))
      try unsafe MockIOMMU.checkPins(UnsafeRawBufferPointer(bytes), are: 1, in: space.context)
      let wrong = #expect(throws: KernelError.self) {
        try unsafe device.checkMap(range.start, UnsafeRawBufferPointer(rebasing: bytes[4096...]))
      }
      #expect(wrong?.errno == .invalidArgument)
      try space.unmapPages(range)
      try unsafe MockIOMMU.checkPins(UnsafeRawBufferPointer(bytes), are: 0, in: space.context)
    }

    @Test func anAccessCopies() throws {
      let space = try IOAS(in: IOMMUFDContext())
      let memory = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      let access = try MockAccess(to: space, pinsPages: false)
      var text: [UInt8] = [1, 2, 3]
      try unsafe text.withUnsafeMutableBytes { try unsafe access.write(memory.iova(at: 10), from: $0) }
      #expect(memory.load(UInt8.self, at: 12) == 3)
    }

    @Test func aDMABufIsFound() throws {
      let context = try IOMMUFDContext()
      let dmaBuf = try MockIOMMU.dmaBuf(byteCount: 8192, in: context)
      try MockIOMMU.setRevoked(true, dmaBuf, in: context)
      try MockIOMMU.setRevoked(false, dmaBuf, in: context)
    }
  }
}
