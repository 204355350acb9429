// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// The case `device` of the kernel's program of failing allocations; see `AcceptanceFailureTests`.
  @Suite struct AcceptanceDeviceFailureTests {
    @Test func device() throws {
      let pages = try MappedMemory.anonymous(byteCount: 4096)
      let count = try FailNth.sweep { failNth in
        let context = try failNth.step { () throws(KernelError) in try IOMMUFDContext() }
        let ioas = try failNth.step { () throws(KernelError) in try IOAS(in: context) }
        let other = try failNth.step { () throws(KernelError) in try IOAS(in: context) }
        let memory = IOVARange(
          start: MockIOMMU.aperture.start, last: MockIOMMU.aperture.start.advanced(byByteCount: 4095))
        try failNth.step { () throws(KernelError) in
          try unsafe ioas.mapPages(pages.baseAddress, to: memory, access: .readWrite, sharing: .coherent)
        }
        let mock = try failNth.step { () throws(KernelError) in
          try MockDevice(attachedTo: ioas, flags: .pasid)
        }
        let device = mock.bound(to: ioas)
        _ = try failNth.step { () throws(KernelError) in try device.hardwareInfo() }
        let table = try failNth.step { () throws(KernelError) in
          try HWPageTable(of: ioas, for: device, options: .pasid)
        }
        try failNth.step { () throws(KernelError) in try device.attach(to: other) }
        try failNth.step { () throws(KernelError) in try device.attach(to: table) }
        let parent = try failNth.step { () throws(KernelError) in
          try HWPageTable(of: ioas, for: device, options: [.pasid, .nestParent])
        }
        try Self.makesVirtualObjects(failNth, device, parent, memory)
        try Self.attachesPASIDs(failNth, device, table)
        // The device goes before what it is attached to.
        try device.attach(to: ioas)
      }
      #expect(count >= 30, "\(count) allocations")
      print("fail-nth device: \(count) allocations failed")
    }

    private static func makesVirtualObjects(
      _ failNth: FailNth, _ device: IOMMUFDDevice, _ parent: HWPageTable, _ memory: IOVARange
    ) throws {
      let viommu = try failNth.step { () throws(KernelError) in
        try VIOMMU(in: parent, for: device, VIOMMUFixture.model)
      }
      let name = try failNth.step { () throws(KernelError) in try VDevice(device, in: viommu, virtualID: 0x99)
      }
      let queue = try failNth.step { () throws(KernelError) in
        try HWQueue(in: viommu, VIOMMUFixture.queues, index: 0, memory: memory)
      }
      let faults = try failNth.step { () throws(KernelError) in try FaultQueue(in: device.context) }
      let nested = try failNth.step { () throws(KernelError) in
        try HWPageTable(nestedIn: viommu, for: device, data: PageTableFixture.data(), faults: faults)
      }
      let events = try failNth.step { () throws(KernelError) in
        try VEventQueue(of: viommu, VIOMMUFixture.events, depth: 2)
      }
      withExtendedLifetime((name, queue, nested, events)) {}
    }

    private static func attachesPASIDs(
      _ failNth: FailNth, _ device: IOMMUFDDevice, _ table: HWPageTable
    ) throws {
      guard let pasid = PASID(100) else { return }
      var attachment: PASIDAttachment?
      try failNth.step { () throws(KernelError) in attachment = try device.attach(pasid, to: table) }
      let second = try failNth.step { () throws(KernelError) in
        try HWPageTable(of: table.ioas, for: device, options: .pasid)
      }
      try failNth.step { () throws(KernelError) in try attachment?.replace(with: second) }
      try failNth.step { () throws(KernelError) in try attachment.take()?.detach() }
    }
  }
}
