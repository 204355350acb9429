// SPDX-License-Identifier: Apache-2.0
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// The kernel's program of failing allocations (iommufd_fail_nth), written anew.
  ///
  /// Each case is run with the first, the second, … allocation in the kernel failing, until none does. Nothing may leak
  /// and the kernel not complain.
  @Suite struct AcceptanceFailureTests {
    private let page = TestMemory.page
    /// A place that devices do not forbid.
    private let start = MockIOMMU.aperture.start

    /// Runs a body while the kernel's lists are short, so that it allocates often.
    private func sweep(_ body: (FailNth) throws -> Void) throws {
      let context = try IOMMUFDContext()
      let count = try MockIOMMU.withTemporaryMemory(limitedTo: 32, in: context) { try FailNth.sweep(body) }
      #expect(count >= 10, "\(count) allocations")
      print("fail-nth: \(count) allocations failed")
    }

    private func space(_ failNth: FailNth) throws(KernelError) -> IOAS {
      let context = try failNth.step { () throws(KernelError) in try IOMMUFDContext() }
      return try failNth.step { () throws(KernelError) in try IOAS(in: context) }
    }

    @Test func basic() throws {
      let memory = try TestMemory(4 * page)
      try sweep { failNth in
        let space = try space(failNth)
        let context = space.context
        let other = try failNth.step { () throws(KernelError) in try IOAS(in: context) }
        _ = try failNth.step { () throws(KernelError) in try space.usableAddresses() }
        let allowed = IOVARange(start: IOVA(0x10_0000), last: IOVA(0xff_ffff))
        try failNth.step { () throws(KernelError) in try space.allow([allowed]) }
        let place = try failNth.step { () throws(KernelError) in try space.map(memory) }
        #expect(allowed.contains(place))
        let copy = try failNth.step { () throws(KernelError) in
          try other.copyMapping(of: place, from: space, access: .read)
        }
        try failNth.step { () throws(KernelError) in _ = try other.unmapBytes(copy) }
        try failNth.step { () throws(KernelError) in _ = try space.unmapBytes(place) }
        do throws(KernelError) {
          try failNth.step { () throws(KernelError) in _ = try space.unmapBytes(place) }
          Issue.record("nothing is mapped")
        } catch {
          guard error.errno == .noSuchFileOrDirectory else { throw error }
        }
      }
    }

    /// Devices come and go over memory that is mapped.
    private func mapping(_ memory: TestMemory, deviceCount: Int) throws {
      try sweep { failNth in
        let space = try space(failNth)
        func attach() throws(KernelError) -> MockDevice {
          try failNth.step { () throws(KernelError) in try MockDevice(attachedTo: space) }
        }
        var devices: [MockDevice] = []
        for _ in 0..<deviceCount { devices.append(try attach()) }
        let place = try failNth.step { () throws(KernelError) in try space.map(memory, at: start) }
        for device in devices { try failNth.step { () throws(KernelError) in try device.destroy() } }
        devices = []
        for _ in 0..<deviceCount { devices.append(try attach()) }
        for device in devices { try device.check(place.start, memory) }
        try failNth.step { () throws(KernelError) in _ = try space.unmapBytes(place) }
        try memory.checkPins(are: 0, in: space.context)
      }
      // Whatever failed, no page is pinned.
      try memory.checkPins(are: 0, in: IOMMUFDContext())
    }

    @Test func mapDomain() throws { try mapping(TestMemory(64 * page), deviceCount: 1) }

    @Test func mapFileDomain() throws { try mapping(TestMemory(64 * page, .file), deviceCount: 1) }

    @Test func mapTwoDomains() throws { try mapping(TestMemory(64 * page), deviceCount: 2) }

    @Test func accessRW() throws {
      let memory = try TestMemory(16 * page)
      let buffer = try TestMemory(16 * page)
      try sweep { failNth in
        let space = try space(failNth)
        let place = try failNth.step { () throws(KernelError) in try space.map(memory, at: start) }
        let access = try failNth.step(access: { () throws(KernelError) in
          try MockAccess(to: space, pinsPages: false)
        })
        for (offset, byteCount) in [(0, 16 * page), (page - 10, 20), (3 * page + 1, 2 * page)] {
          for slowly in [false, true] {
            let iova = place.start.advanced(byByteCount: offset)
            let bytes = unsafe buffer.bytes(0..<byteCount)
            try failNth.step { () throws(KernelError) in
              try unsafe access.write(iova, from: bytes, slowly: slowly)
            }
            try failNth.step { () throws(KernelError) in
              try unsafe access.read(iova, into: bytes, slowly: slowly)
            }
          }
        }
        try access.close()
      }
    }

    /// Pages are pinned from inside the kernel, with a device or without, and taken back by the unmap.
    private func pinning(deviceCount: Int) throws {
      let memory = try TestMemory(16 * page)
      try sweep { failNth in
        let space = try space(failNth)
        var devices: [MockDevice] = []
        for _ in 0..<deviceCount {
          devices.append(
            try failNth.step { () throws(KernelError) in try MockDevice(attachedTo: space) })
        }
        let place = try failNth.step { () throws(KernelError) in try space.map(memory, at: start) }
        let access = try failNth.step(access: { () throws(KernelError) in
          try MockAccess(to: space, pinsPages: true)
        })
        let whole = try failNth.step { () throws(KernelError) in try access.pin(place.start, memory) }
        let second = place.start.advanced(byByteCount: page)
        _ = try failNth.step { () throws(KernelError) in
          try access.pin(second, memory, page..<3 * page, writing: false)
        }
        try failNth.step { () throws(KernelError) in try access.unpin(whole) }
        // A table that takes its pages from what is pinned, and leaves them there.
        let device = try failNth.step { () throws(KernelError) in try MockDevice(attachedTo: space) }
        try failNth.step { () throws(KernelError) in try device.destroy() }
        for device in devices { try failNth.step { () throws(KernelError) in try device.destroy() } }
        try failNth.step { () throws(KernelError) in _ = try space.unmapBytes(place) }
        try memory.checkPins(are: 0, in: space.context)
        try access.close()
      }
      try memory.checkPins(are: 0, in: IOMMUFDContext())
    }

    @Test func accessPin() throws { try pinning(deviceCount: 0) }

    @Test func accessPinDomain() throws { try pinning(deviceCount: 1) }
  }
}
