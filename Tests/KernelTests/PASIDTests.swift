// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// The kernel's acceptance case `iommufd_device_pasid`, and what the toolkit itself refuses.
  @Suite struct PASIDTests {
    private static let pasid = PASID(100) ?? .highest

    private func refused(_ device: IOMMUFDDevice, _ pasid: PASID, _ table: HWPageTable) -> Errno? {
      refusal { () throws(KernelError) in _ = try device.attach(pasid, to: table) }
    }

    @Test func pasidAttachWithoutPASIDs() throws {
      let fixture = try PageTableFixture()
      let (mock, device) = (fixture.mocks[0], fixture.devices[0])
      let table = try HWPageTable(of: fixture.ioas, for: device, options: .pasid)
      try device.attach(to: table)
      #expect(try device.pasidBits() == 0)
      let refused = #expect(throws: KernelError.self) { _ = try device.attach(Self.pasid, to: table) }
      #expect(refused?.operation == "attach PASID" && refused?.errno == .notSupported)
      #expect(refused?.remedy?.contains("no PASIDs") == true)
      #expect(
        refusal { () throws(KernelError) in
          try mock.attachPASID(Self.pasid.rawValue, to: table.id)
        } == .invalidArgument)
      try mock.checkPASID(Self.pasid.rawValue, isAttachedTo: nil)
      try device.attach(to: fixture.ioas)
    }

    @Test func pasidAttachWithPASIDs() throws {
      let fixture = try PageTableFixture(flags: .pasid)
      let (mock, device) = (fixture.mocks[0], fixture.devices[0])
      let pasid = Self.pasid
      let plain = try HWPageTable(of: fixture.ioas, for: device)
      let own = try HWPageTable(of: fixture.ioas, for: device, options: .pasid)
      let parent = try HWPageTable(of: fixture.ioas, for: device, options: [.pasid, .nestParent])
      let nested = [
        try HWPageTable(nestedIn: parent, for: device, data: PageTableFixture.data(), options: .pasid),
        try HWPageTable(nestedIn: parent, for: device, data: PageTableFixture.data(), options: .pasid),
      ]
      // A detach of what is not attached is nothing.
      try mock.detachPASID(pasid.rawValue)

      // The order: first the device itself, to a table for PASIDs.
      #expect(refused(device, pasid, own) == .invalidArgument)
      try device.attach(to: plain)
      #expect(refused(device, pasid, own) == .invalidArgument)
      #expect(
        refusal { () throws(KernelError) in try mock.attachPASID(pasid.rawValue, to: own.id) }
          == .invalidArgument)
      try device.attach(to: own)
      do {
        let attachment = try device.attach(pasid, to: own)
        try mock.checkPASID(pasid.rawValue, isAttachedTo: own.id)
        let back = #expect(throws: KernelError.self) { try device.attach(to: plain) }
        #expect(back?.errno == .invalidArgument && back?.remedy?.contains("PASIDs") == true)
        try attachment.detach()
      }
      try device.attach(to: plain)
      try device.attach(to: own)

      // Wrong tables leave nothing attached.
      #expect(refused(device, pasid, plain) == .invalidArgument)
      for wrong in [plain.id, fixture.ioas.id] {
        #expect(
          refusal { () throws(KernelError) in try mock.attachPASID(pasid.rawValue, to: wrong) }
            == .invalidArgument)
        try mock.checkPASID(pasid.rawValue, isAttachedTo: nil)
      }

      try replaces(fixture, parent, nested)
      try failsToReplace(fixture, parent, nested)
      try tellsFaults(fixture, own)
      #expect(device.attachedPASIDs.isEmpty)
      try device.attach(to: fixture.ioas)
    }

    private func replaces(_ fixture: PageTableFixture, _ parent: HWPageTable, _ nested: [HWPageTable]) throws
    {
      let (mock, device, pasid) = (fixture.mocks[0], fixture.devices[0], Self.pasid)
      #expect(
        refusal { () throws(KernelError) in
          try mock.replacePASID(pasid.rawValue, with: parent.id)
        } == .invalidArgument, "it is not attached")
      let attachment = try device.attach(pasid, to: parent)
      #expect(device.attachedPASIDs == [pasid])
      #expect(refused(device, pasid, nested[0]) == .resourceBusy)
      #expect(
        refusal { () throws(KernelError) in
          try mock.attachPASID(pasid.rawValue, to: nested[0].id)
        } == .resourceBusy)
      #expect(
        refusal { () throws(KernelError) in
          try mock.replacePASID(pasid.rawValue, with: fixture.ioas.id)
        } == .invalidArgument)
      try mock.checkPASID(pasid.rawValue, isAttachedTo: parent.id)
      for table in nested {
        try attachment.replace(with: table)
        try mock.checkPASID(pasid.rawValue, isAttachedTo: table.id)
        #expect(refusal { () throws(KernelError) in try table.close() } == .resourceBusy)
      }
      try attachment.detach()
      try mock.checkPASID(pasid.rawValue, isAttachedTo: nil)
    }

    /// The mock's driver fails the first replacement of a certain PASID.
    private func failsToReplace(
      _ fixture: PageTableFixture, _ parent: HWPageTable, _ nested: [HWPageTable]
    ) throws {
      let number = UInt32(CMOCK_PASID_FAILING_REPLACE)
      let (mock, device) = (fixture.mocks[0], fixture.devices[0])
      let attachment = try device.attach(try #require(PASID(number)), to: nested[0])
      #expect(
        refusal { () throws(KernelError) in try attachment.replace(with: nested[1]) } == .noMemory)
      try mock.checkPASID(number, isAttachedTo: nested[0].id)
      try attachment.replace(with: nested[1])
      try mock.checkPASID(number, isAttachedTo: nested[1].id)
    }

    private func tellsFaults(_ fixture: PageTableFixture, _ own: HWPageTable) throws {
      let (mock, device) = (fixture.mocks[0], fixture.devices[0])
      let queue = try FaultQueue(in: fixture.context)
      let faulting = try HWPageTable(of: fixture.ioas, for: device, options: .pasid, faults: queue)
      let pasid = try #require(PASID(2048))
      let attachment = try device.attach(pasid, to: faulting)
      try mock.triggerPageFault(at: 0x4000, pasid: pasid.rawValue)
      let groups = try #require(try queue.read(for: .seconds(5)))
      #expect(groups.first?.faults.first?.pasid == pasid)
      try queue.respond(groups.map { $0.response(.refused) }).requireAll()
      try attachment.replace(with: own)
      try mock.checkPASID(pasid.rawValue, isAttachedTo: own.id)
      try faulting.close()
      try attachment.detach()
    }

    @Test func whatTheKernelLetsThroughIsRefused() throws {
      let fixture = try PageTableFixture(flags: .pasid)
      let device = fixture.devices[0]
      let table = try HWPageTable(of: fixture.ioas, for: device, options: .pasid)
      try device.attach(to: table)
      #expect(try device.pasidBits() == 20)
      #expect(refused(device, try #require(PASID(0)), table) == .invalidArgument)
      let highest = try device.attach(.highest, to: table)
      #expect(highest.pasid.rawValue == 0xfffff)
    }

    @Test func anAttachmentDetachesWhenItGoes() throws {
      let fixture = try PageTableFixture(flags: .pasid)
      let (mock, device) = (fixture.mocks[0], fixture.devices[0])
      let table = try HWPageTable(of: fixture.ioas, for: device, options: .pasid)
      try device.attach(to: table)
      do {
        let attachment = try device.attach(Self.pasid, to: table)
        #expect(attachment.device === device)
        try mock.checkPASID(Self.pasid.rawValue, isAttachedTo: table.id)
      }
      try mock.checkPASID(Self.pasid.rawValue, isAttachedTo: nil)
      #expect(device.attachedPASIDs.isEmpty)
    }

    /// A PASID of an allocator is nobody else's while it is attached, whatever becomes of its lease.
    @Test func anAttachedLeaseStaysOut() throws {
      let fixture = try PageTableFixture(flags: .pasid)
      let (mock, device) = (fixture.mocks[0], fixture.devices[0])
      let table = try HWPageTable(of: fixture.ioas, for: device, options: .pasid)
      try device.attach(to: table)
      let bits = try device.pasidBits()
      let range = try #require(ClosedRange<PASID>.fitting(pasidBits: bits))
      let allocator = PASIDAllocator()
      let lease = try allocator.allocate(in: range)
      let attachment = try device.attach(lease, to: table)
      try mock.checkPASID(1, isAttachedTo: table.id)
      var busy: Errno?
      do throws(KernelError) { try lease.free() } catch { busy = error.errno }
      #expect(busy == .resourceBusy && allocator.allocated.map(\.rawValue) == [1])
      let next = try allocator.allocate(in: range)
      let number = next.pasid.rawValue
      #expect(number == 2, "the first one is attached, though its lease is gone")
      try attachment.detach()
      try mock.checkPASID(1, isAttachedTo: nil)
      #expect(allocator.allocated.map(\.rawValue) == [2], "it goes back with its attachment")
      try next.free()
    }
  }
}
