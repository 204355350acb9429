// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// The kernel's acceptance cases `iommufd_viommu`.
  ///
  /// In the variant without one, the kernel's program skips what has nothing to do then; the same is checked here as
  /// what it is: no device, no virtual IOMMU.
  @Suite struct VIOMMUTests {
    typealias Variant = VIOMMUFixture.Variant

    @Test(arguments: Variant.allCases)
    func viommuAutoDestroy(_ variant: Variant) throws {
      guard variant == .mockVIOMMU else { return try refusesWithoutADevice() }
      let fixture = try VIOMMUFixture()
      #expect(fixture.page.context.objects.objects.contains { $0.kind == .viommu })
    }

    private func refusesWithoutADevice() throws {
      let ioas = try IOAS(in: IOMMUFDContext())
      let fd = ioas.context.descriptor
      var command = abi_iommu_viommu_alloc()
      command.type = CMOCK_VIOMMU_TYPE
      #expect(unsafe abi_iommu_viommu_alloc(fd, &command, nil, 0) == -Errno.noSuchFileOrDirectory.rawValue)
      var vdevice = abi_iommu_vdevice_alloc()
      vdevice.virt_id = 0x88
      #expect(unsafe abi_iommu_vdevice_alloc(fd, &vdevice) == -Errno.noSuchFileOrDirectory.rawValue)
      var events = abi_iommu_veventq_alloc()
      events.type = CMOCK_VEVENTQ_TYPE
      events.veventq_depth = 1
      #expect(unsafe abi_iommu_veventq_alloc(fd, &events) == -Errno.noSuchFileOrDirectory.rawValue)
      var queue = abi_iommu_hw_queue_alloc()
      queue.type = CMOCK_HW_QUEUE_TYPE
      queue.length = 4096
      #expect(unsafe abi_iommu_hw_queue_alloc(fd, &queue) == -Errno.noSuchFileOrDirectory.rawValue)
    }

    @Test(arguments: Variant.allCases)
    func viommuNegativeTests(_ variant: Variant) throws {
      guard variant == .mockVIOMMU else { return try refusesWithoutADevice() }
      let fixture = try VIOMMUFixture()
      let plain = try HWPageTable(of: fixture.page.ioas, for: fixture.device)
      var command = abi_iommu_viommu_alloc()
      command.type = CMOCK_VIOMMU_TYPE
      command.dev_id = fixture.device.id.rawValue
      let fd = fixture.page.context.descriptor
      #expect(unsafe abi_iommu_viommu_alloc(fd, &command, nil, 0) == -Errno.noSuchFileOrDirectory.rawValue)
      #expect(
        refusal { () throws(KernelError) in
          _ = try VIOMMU(in: plain, for: fixture.device, VIOMMUFixture.model)
        } == .invalidArgument)
      #expect(
        refusal { () throws(KernelError) in
          _ = try VIOMMU(in: fixture.parent, for: fixture.device, VIOMMU.Model(rawValue: 0xdead))
        } == .notSupported)
      let nested = try fixture.nested()
      let busy = #expect(throws: KernelError.self) { try fixture.viommu.close() }
      #expect(busy?.errno == .resourceBusy && busy?.remedy?.contains("HWPT \(nested.id)") == true)
      #expect(refusal { () throws(KernelError) in try fixture.parent.close() } == .resourceBusy)
      try nested.close()
      try fixture.viommu.close()
      try fixture.parent.close()
    }

    @Test(arguments: Variant.allCases)
    func viommuAllocNestedIOPF(_ variant: Variant) throws {
      guard variant == .mockVIOMMU else { return try refusesWithoutADevice() }
      let fixture = try VIOMMUFixture()
      let data = PageTableFixture.data().bytes
      func raw(_ flags: UInt32, _ fault: UInt32) -> Errno? {
        RawCall.allocateTable(
          in: fixture.page.context, device: fixture.device.id, parent: fixture.viommu.id, flags: flags,
          type: CMOCK_HWPT_DATA_TYPE, data: data, fault: fault)
      }
      let queue = try FaultQueue(in: fixture.page.context)
      #expect(raw(ABI_IOMMU_HWPT_FAULT_ID_VALID, .max) == .noSuchFileOrDirectory)
      #expect(raw(ABI_IOMMU_HWPT_FAULT_ID_VALID | 1 << 31, queue.id.rawValue) == .notSupported)
      let table = try fixture.nested(faults: queue)
      #expect(
        refusal { () throws(KernelError) in try fixture.device.attach(to: table) } == .noSuchFileOrDirectory,
        "the device has no name in the virtual IOMMU")
      let name = try VDevice(fixture.device, in: fixture.viommu, virtualID: 0x99)
      try fixture.device.attach(to: table)
      #expect(refusal { () throws(KernelError) in try table.close() } == .resourceBusy)
      try fixture.mock.triggerPageFault(at: 0x1000)
      let groups = try #require(try queue.read(for: .seconds(5)))
      #expect(groups.count == 1)
      try queue.respond(groups.map { $0.response(.handled) }).requireAll()
      try fixture.device.attach(to: fixture.page.ioas)
      try name.close()
      try table.close()
    }

    @Test(arguments: Variant.allCases)
    func viommuAllocWithData(_ variant: Variant) throws {
      guard variant == .mockVIOMMU else { return try refusesWithoutADevice() }
      let fixture = try VIOMMUFixture()
      let viommu = try VIOMMU(
        in: fixture.parent, for: fixture.device, VIOMMUFixture.model,
        data: littleEndianBytes(0xbeef, 0, 0, 0, 0, 0))
      #expect(Array(viommu.data[4..<8]) == littleEndianBytes(0xbeef))
      let told = unsafe viommu.data.withUnsafeBytes { unsafe $0.loadUnaligned(as: cmock_viommu_data.self) }
      let area = VIOMMU.Area(offset: told.out_mmap_offset, byteCount: Int(told.out_mmap_length))
      #expect(area.byteCount == 8192)
      for wrong in [
        VIOMMU.Area(offset: area.offset + 4096, byteCount: area.byteCount),
        VIOMMU.Area(offset: area.offset, byteCount: area.byteCount / 2),
        VIOMMU.Area(offset: area.offset, byteCount: area.byteCount * 2),
      ] {
        #expect(
          refusal { () throws(KernelError) in _ = try viommu.map(wrong) }
            == .noSuchAddressOrDevice)
      }
      do {
        let mapping = try viommu.map(area)
        #expect(unsafe mapping.memory.baseAddress.load(as: UInt32.self) == 0xbeef)
        let busy = #expect(throws: KernelError.self) { try viommu.close() }
        #expect(busy?.errno == .resourceBusy)
      }
      try viommu.close()
    }

    @Test(arguments: Variant.allCases)
    func vdeviceAlloc(_ variant: Variant) throws {
      guard variant == .mockVIOMMU else { return try refusesWithoutADevice() }
      let fixture = try VIOMMUFixture()
      let table = try fixture.nested()
      #expect(
        refusal { () throws(KernelError) in try fixture.device.attach(to: table) } == .noSuchFileOrDirectory)
      func events(_ depth: Int) throws(KernelError) -> VEventQueue {
        try VEventQueue(of: fixture.viommu, VIOMMUFixture.events, depth: depth)
      }
      for wrong in [0, 1 << 19 + 1] {
        #expect(refusal { () throws(KernelError) in _ = try events(wrong) } == .invalidArgument)
      }
      try events(1 << 19).close()
      let queue = try events(2)
      #expect(refusal { () throws(KernelError) in _ = try events(2) } == .fileExists)

      let name = try VDevice(fixture.device, in: fixture.viommu, virtualID: 0x99)
      try fixture.device.attach(to: table)
      #expect(
        refusal { () throws(KernelError) in
          _ = try VDevice(fixture.device, in: fixture.viommu, virtualID: 0x88)
        } == .fileExists)
      try fixture.mock.triggerEvent()
      let first = try #require(try queue.read(for: .seconds(5)))
      #expect(first.map(\.content) == [.event(littleEndianBytes(0x99))] && first[0].lostCount == 0)

      // Another number.
      try fixture.device.attach(to: fixture.page.ioas)
      try name.close()
      let other = try VDevice(fixture.device, in: fixture.viommu, virtualID: 0x88)
      try fixture.device.attach(to: table)
      // Three events where two have room.
      for _ in 0..<3 { try fixture.mock.triggerEvent() }
      let full = try #require(try queue.read())
      let event = VirtualEvent.Content.event(littleEndianBytes(0x88))
      #expect(full.map(\.content) == [event, event, .overflow])
      #expect(full.map(\.lostCount) == [0, 0, 1] && full.map(\.sequence) == [1, 2, 3])
      try fixture.mock.triggerEvent()
      let next = try #require(try queue.read())
      #expect(next.map(\.content) == [event] && next.map(\.lostCount) == [0])

      try fixture.device.attach(to: fixture.page.ioas)
      try other.close()
      try queue.close()
      try readsOnlyWholeEvents(fixture, table)
    }

    /// What the library never does: reads that are too short.
    private func readsOnlyWholeEvents(_ fixture: VIOMMUFixture, _ table: HWPageTable) throws {
      var command = abi_iommu_veventq_alloc()
      command.viommu_id = fixture.viommu.id.rawValue
      command.type = CMOCK_VEVENTQ_TYPE
      command.veventq_depth = 2
      let fd = fixture.page.context.descriptor
      try kernelCall("IOMMU_VEVENTQ_ALLOC") { unsafe abi_iommu_veventq_alloc(fd, &command) }
      let file = OwnedDescriptor(adopting: CInt(bitPattern: command.out_veventq_fd))
      let name = try VDevice(fixture.device, in: fixture.viommu, virtualID: 0x77)
      try fixture.device.attach(to: table)
      try fixture.mock.triggerEvent()
      var buffer = [UInt8](repeating: 0, count: 64)
      for byteCount in [0, 7, 8] {
        #expect(
          unsafe abi_read(file.rawValue, &buffer, UInt64(byteCount)) == -Int64(Errno.invalidArgument.rawValue)
        )
      }
      #expect(unsafe abi_read(file.rawValue, &buffer, 64) == 12)
      try fixture.device.attach(to: fixture.page.ioas)
      try name.close()
      try file.close()
      try fixture.page.context.destroyForTest(IOMMUFDObjectID(command.out_veventq_id))
    }

    @Test(arguments: Variant.allCases)
    func vdeviceCache(_ variant: Variant) throws {
      guard variant == .mockVIOMMU else { return try refusesWithoutADevice() }
      let fixture = try VIOMMUFixture()
      let viommu = fixture.viommu
      let name = try VDevice(fixture.device, in: viommu, virtualID: 0x99)
      let full = CMOCK_DEVICE_CACHE_DEFAULT
      func check(_ values: [UInt32], _ line: Int = #line) {
        for (index, value) in values.enumerated() {
          #expect(throws: Never.self, "line \(line), entry \(index)") {
            try fixture.mock.checkCache(index, is: value)
          }
        }
      }
      check([full, full, full, full])
      let empty = viommu.invalidate(
        CacheInvalidation(type: CMOCK_VIOMMU_INVALIDATE_TYPE, entryByteCount: 12, bytes: []))
      #expect(empty.failure == nil && empty.handledCount == 0)
      let count = UInt32(CMOCK_DEVICE_CACHE_COUNT)
      let wrong: [(CacheInvalidation, Errno)] = [
        (
          VIOMMUFixture.invalidation([(0, 0x99, 0)], type: CMOCK_VIOMMU_INVALIDATE_TYPE_INVALID),
          .invalidArgument
        ),
        (VIOMMUFixture.invalidation([(2, 0x99, 0)]), .notSupported),
        (VIOMMUFixture.invalidation([(0, 0x99, count)]), .invalidArgument),
        (VIOMMUFixture.invalidation([(0, 9, 0)]), .invalidArgument),
      ]
      for (batch, errno) in wrong {
        let outcome = viommu.invalidate(batch)
        #expect(outcome.failure?.errno == errno && outcome.handledCount == 0)
      }
      for (size, number, bytes): (UInt32, UInt32, [UInt8]?) in [
        (11, 1, [UInt8](repeating: 0, count: 64)), (0, 1, [UInt8](repeating: 0, count: 64)),
        (4097, 1, [UInt8](repeating: 0, count: 8192)), (12, 1 << 19 + 1, [UInt8](repeating: 0, count: 64)),
        (12, 1, nil),
      ] {
        let (errno, handled) = RawCall.invalidate(
          viommu.id, in: fixture.page.context, type: CMOCK_VIOMMU_INVALIDATE_TYPE, entryByteCount: size,
          count: number, bytes)
        #expect(errno == .invalidArgument && handled == 0, "\(size) \(number)")
      }
      // The second is wrong: the first is done.
      for second in [(UInt32(2), UInt32(0x99), UInt32(1)), (0, 0x99, count)] {
        let outcome = viommu.invalidate(VIOMMUFixture.invalidation([(0, 0x99, 0), second]))
        #expect(outcome.handledCount == 1 && outcome.failure != nil)
        check([0, full, full, full])
      }
      try viommu.invalidate(VIOMMUFixture.invalidation([(0, 0x99, 1)])).requireAll()
      check([0, 0, full, full])
      #expect(viommu.invalidate(VIOMMUFixture.invalidation([(0, 0x99, 2), (0, 0x99, 3)])).handledCount == 2)
      check([0, 0, 0, 0])
      let fresh = try MockDevice(attachedTo: fixture.page.ioas)
      let second = try VDevice(fresh.bound(to: fixture.page.ioas), in: viommu, virtualID: 0x55)
      try viommu.invalidate(VIOMMUFixture.invalidation([(CMOCK_INVALIDATE_ALL, 0x55, 0)])).requireAll()
      for index in 0..<Int(count) { try fresh.checkCache(index, is: 0) }
      try second.close()
      try name.close()
    }

    @Test(arguments: Variant.allCases)
    func hwQueue(_ variant: Variant) throws {
      guard variant == .mockVIOMMU else { return try refusesWithoutADevice() }
      let fixture = try VIOMMUFixture()
      let space = fixture.page.ioas
      let pages = try MappedMemory.anonymous(byteCount: 8192)
      let start = MockIOMMU.aperture.start
      func range(_ offset: Int, _ byteCount: Int) -> IOVARange {
        IOVARange(
          start: start.advanced(byByteCount: offset),
          last: start.advanced(byByteCount: offset + byteCount - 1))
      }
      func queue(
        _ index: Int, _ memory: IOVARange, _ model: HWQueue.Model = VIOMMUFixture.queues,
        after: HWQueue? = nil
      ) throws(KernelError) -> HWQueue {
        try HWQueue(in: fixture.viommu, model, index: index, memory: memory, after: after)
      }
      func refused(_ index: Int, _ memory: IOVARange, _ model: HWQueue.Model = VIOMMUFixture.queues) -> Errno?
      {
        refusal { () throws(KernelError) in _ = try queue(index, memory, model) }
      }
      #expect(refused(0, range(0, 4096), HWQueue.Model(rawValue: 0)) == .notSupported)
      var command = abi_iommu_hw_queue_alloc()
      command.viommu_id = fixture.viommu.id.rawValue
      command.type = CMOCK_HW_QUEUE_TYPE
      let fd = space.context.descriptor
      #expect(unsafe abi_iommu_hw_queue_alloc(fd, &command) == -Errno.invalidArgument.rawValue)
      command.nesting_parent_iova = ~0
      command.length = 4096
      #expect(unsafe abi_iommu_hw_queue_alloc(fd, &command) == -Errno.overflow.rawValue)
      #expect(refused(0, range(0, 4096)) == .noSuchFileOrDirectory)

      for page in [0, 4096] {
        try unsafe space.mapPages(
          pages.baseAddress + page, to: range(page, 4096), access: .readWrite, sharing: .coherent)
      }
      #expect(refused(1, range(0, 4096)) == .ioError)
      #expect(refused(Int(UInt32.max), range(0, 4096)) == .invalidArgument)
      let first = try queue(0, range(0, 4096))
      #expect(refused(0, range(0, 4096)) == .fileExists)
      #expect(refusal { () throws(KernelError) in try space.unmapPages(range(0, 4096)) } == .resourceBusy)
      try space.unmapPages(range(4096, 4096))
      let second = try queue(1, range(2048, 2048), after: first)
      let busy = #expect(throws: KernelError.self) { try first.close() }
      #expect(busy?.errno == .resourceBusy && busy?.remedy?.contains("HW queue \(second.id)") == true)
      try second.close()
      try first.close()
      try space.unmapPages(range(0, 4096))
    }

    /// The kernel destroys the name with the device; the library keeps the device bound, so the test goes around it.
    @Test(arguments: Variant.allCases)
    func vdeviceTombstone(_ variant: Variant) throws {
      guard variant == .mockVIOMMU else { return try refusesWithoutADevice() }
      let fixture = try VIOMMUFixture()
      let name = try VDevice(fixture.device, in: fixture.viommu, virtualID: 0x99)
      try fixture.mock.destroy()
      let gone = #expect(throws: KernelError.self) { try name.close() }
      #expect(gone?.operation == "IOMMU_DESTROY" && gone?.iommufdCode == .noSuchObject)
      let twice = #expect(throws: KernelError.self) { try name.close() }
      #expect(twice?.remedy?.contains("closed") == true)
    }
  }
}
