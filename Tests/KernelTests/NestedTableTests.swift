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
  /// The kernel's acceptance cases `iommufd_ioas` of page tables: allocation and nesting, attachment, hardware facts.
  @Suite struct NestedTableTests {
    typealias Variant = PageTableFixture.Variant

    @Test(arguments: Variant.allCases)
    func allocHWPTNested(_ variant: Variant) throws {
      try PageTableFixture.run(variant) { fixture in
        guard let device = fixture.devices.first else {
          #expect(
            RawCall.allocateTable(
              in: fixture.context, device: IOMMUFDObjectID(0), parent: fixture.ioas.id,
              flags: ABI_IOMMU_HWPT_ALLOC_NEST_PARENT) == .noSuchFileOrDirectory)
          return
        }
        let parent = try HWPageTable(of: fixture.ioas, for: device, options: .nestParent)
        let plain = try HWPageTable(of: fixture.ioas, for: device)
        try refusesWrongAllocations(fixture, device, parent, plain)

        let queue = try FaultQueue(in: fixture.context)
        let nested = [
          try HWPageTable(nestedIn: parent, for: device, data: PageTableFixture.data()),
          try HWPageTable(nestedIn: parent, for: device, data: PageTableFixture.data()),
        ]
        #expect(
          RawCall.allocateTable(
            in: fixture.context, device: device.id, parent: parent.id, flags: ABI_IOMMU_HWPT_FAULT_ID_VALID,
            type: CMOCK_HWPT_DATA_TYPE, data: PageTableFixture.data().bytes, fault: .max)
            == .noSuchFileOrDirectory)
        let faulting = try HWPageTable(
          nestedIn: parent, for: device, data: PageTableFixture.data(), faults: queue)
        for table in nested + [faulting] {
          for index in 0..<Int(CMOCK_IOTLB_COUNT) {
            try MockIOMMU.checkIOTLB(index, is: CMOCK_IOTLB_DEFAULT, of: table.id, in: fixture.context)
          }
        }
        #expect(
          refusal { () throws(KernelError) in
            _ = try HWPageTable(nestedIn: nested[0], for: device, data: PageTableFixture.data())
          } == .invalidArgument)
        let busy = #expect(throws: KernelError.self) { try parent.close() }
        #expect(busy?.errno == .resourceBusy && busy?.iommufdCode == .inUse)
        #expect(
          busy?.remedy?.contains("HWPT \(nested[0].id) (nested) as nested in") == true,
          "\(busy?.remedy ?? "")")

        refusesWrongInvalidations(fixture, parent, nested[0])
        try invalidates(fixture, nested[0])

        try device.attach(to: nested[0])
        #expect(refusal { () throws(KernelError) in try nested[0].close() } == .resourceBusy)
        try device.attach(to: nested[1])
        try nested[0].close()
        #expect(refusal { () throws(KernelError) in try nested[1].close() } == .resourceBusy)
        try device.attach(to: faulting)
        try nested[1].close()
        #expect(refusal { () throws(KernelError) in try faulting.close() } == .resourceBusy)
        #expect(refusal { () throws(KernelError) in try queue.close() } == .resourceBusy)

        try fixture.mocks[0].triggerPageFault(at: 0x8000, group: 7, permissions: 1)
        let groups = try #require(try queue.read(for: .seconds(5)))
        #expect(groups.map(\.faults.count) == [1])
        let fault = try #require(groups.first?.faults.first)
        #expect(fault.device == device.id && fault.address == IOVA(0x8000) && fault.pasid == nil)
        #expect(fault.access == .read && fault.groupIndex == 7 && fault.isLast)
        let outcome = queue.respond([groups[0].response(.handled)])
        #expect(outcome.handledCount == 1 && outcome.failure == nil)

        try device.attach(to: fixture.ioas)
        try faulting.close()
        try queue.close()
      }
    }

    private func refusesWrongAllocations(
      _ fixture: PageTableFixture, _ device: IOMMUFDDevice, _ parent: HWPageTable, _ plain: HWPageTable
    ) throws {
      func raw(_ type: UInt32, _ data: [UInt8]?, _ byteCount: Int? = nil) -> Errno? {
        RawCall.allocateTable(
          in: fixture.context, device: device.id, parent: parent.id, type: type, data: data,
          byteCount: byteCount)
      }
      func nested(
        in parent: HWPageTable, _ data: HWPageTableData = PageTableFixture.data(),
        _ options: HWPageTable.Options = []
      ) -> Errno? {
        refusal { () throws(KernelError) in
          _ = try HWPageTable(nestedIn: parent, for: device, data: data, options: options)
        }
      }
      let queue = try FaultQueue(in: fixture.context)
      #expect(
        RawCall.allocateTable(in: fixture.context, device: fixture.ioas.id, parent: device.id)
          == .noSuchFileOrDirectory)
      #expect(
        RawCall.allocateTable(in: fixture.context, device: device.id, parent: device.id) == .invalidArgument)
      #expect(
        refusal { () throws(KernelError) in
          _ = try HWPageTable(of: fixture.ioas, for: device, options: .nestParent, faults: queue)
        } == .notSupported)
      #expect(raw(ABI_IOMMU_HWPT_DATA_NONE, PageTableFixture.data().bytes) == .invalidArgument)
      #expect(nested(in: parent, PageTableFixture.data(type: CMOCK_HWPT_DATA_TYPE + 1)) == .notSupported)
      #expect(
        nested(in: parent, HWPageTableData(type: CMOCK_HWPT_DATA_TYPE, bytes: [0, 0, 0])) == .invalidArgument)
      #expect(raw(CMOCK_HWPT_DATA_TYPE, nil, 8) == .badAddress)
      #expect(nested(in: parent, PageTableFixture.data(), .nestParent) == .notSupported)
      #expect(nested(in: plain) == .invalidArgument)
      try queue.close()
    }

    private func refusesWrongInvalidations(
      _ fixture: PageTableFixture, _ parent: HWPageTable, _ nested: HWPageTable
    ) {
      let one = PageTableFixture.invalidation([(0, 0)])
      func check(_ outcome: BatchOutcome, _ errno: Errno?, _ line: Int = #line) {
        #expect(outcome.failure?.errno == errno && outcome.handledCount == 0, "line \(line)")
      }
      func raw(
        _ size: UInt32, _ count: UInt32, _ bytes: [UInt8]? = [UInt8](repeating: 0, count: 8192)
      ) -> Errno? {
        let (errno, handled) = RawCall.invalidate(
          nested.id, in: fixture.context, type: CMOCK_HWPT_INVALIDATE_TYPE, entryByteCount: size,
          count: count,
          bytes)
        #expect(handled == 0)
        return errno
      }
      check(parent.invalidate(one), .invalidArgument)
      check(
        nested.invalidate(CacheInvalidation(type: CMOCK_HWPT_INVALIDATE_TYPE, entryByteCount: 8, bytes: [])),
        nil)
      check(
        nested.invalidate(
          PageTableFixture.invalidation([(0, 0)], type: CMOCK_HWPT_INVALIDATE_TYPE_INVALID)), .invalidArgument
      )
      #expect(raw(7, 1) == .invalidArgument)
      #expect(
        raw(9, 1, [UInt8](repeating: 1, count: 16)) == .argListTooLong
          || raw(9, 1, [UInt8](repeating: 1, count: 16)) == .invalidArgument)
      #expect(raw(0, 1) == .invalidArgument)
      #expect(raw(4097, 1) == .invalidArgument)
      #expect(raw(8, 1 << 19 + 1) == .invalidArgument)
      #expect(raw(8, 1, nil) == .invalidArgument)
      check(nested.invalidate(PageTableFixture.invalidation([(2, 0)])), .notSupported)
      check(
        nested.invalidate(PageTableFixture.invalidation([(0, UInt32(CMOCK_IOTLB_COUNT))])), .invalidArgument)
    }

    private func invalidates(_ fixture: PageTableFixture, _ table: HWPageTable) throws {
      func check(_ values: [UInt32], _ line: Int = #line) {
        for (index, value) in values.enumerated() {
          #expect(throws: Never.self, "line \(line), entry \(index)") {
            try MockIOMMU.checkIOTLB(index, is: value, of: table.id, in: fixture.context)
          }
        }
      }
      let full = CMOCK_IOTLB_DEFAULT
      // The second is wrong: the first is done.
      for wrong in [(UInt32(2), UInt32(1)), (0, UInt32(CMOCK_IOTLB_COUNT))] {
        let outcome = table.invalidate(PageTableFixture.invalidation([(0, 0), wrong]))
        #expect(outcome.handledCount == 1)
        #expect(outcome.failure?.errno == (wrong.0 == 2 ? .notSupported : .invalidArgument))
        check([0, full, full, full])
      }
      #expect(table.invalidate(PageTableFixture.invalidation([(0, 1)])).handledCount == 1)
      check([0, 0, full, full])
      #expect(table.invalidate(PageTableFixture.invalidation([(0, 2), (0, 3)])).handledCount == 2)
      check([0, 0, 0, 0])
      let other = try HWPageTable(
        nestedIn: try #require(table.nestParent), for: fixture.devices[0],
        data: PageTableFixture.data(iotlb: 5))
      let all = other.invalidate(PageTableFixture.invalidation([(CMOCK_INVALIDATE_ALL, 0)]))
      #expect(all.handledCount == 1 && all.failure == nil)
      try all.requireAll()
      for index in 0..<Int(CMOCK_IOTLB_COUNT) {
        try MockIOMMU.checkIOTLB(index, is: 0, of: other.id, in: fixture.context)
      }
    }

    @Test(arguments: Variant.allCases)
    func hwptAttach(_ variant: Variant) throws {
      try PageTableFixture.run(variant) { fixture in
        guard let mock = fixture.mocks.first else {
          #expect(
            refusal { () throws(KernelError) in
              _ = try MockDevice(attachedTo: IOMMUFDObjectID(0), in: fixture.context)
            } == .noSuchFileOrDirectory)
          return
        }
        // The page table that the kernel made for the first one, and one of this process.
        let second = try MockDevice(attachedTo: mock.pageTable, in: fixture.context)
        #expect(second.pageTable == mock.pageTable)
        let table = try HWPageTable(of: fixture.ioas, for: fixture.devices[0])
        let third = try MockDevice(attachedTo: table.id, in: fixture.context)
        #expect(third.pageTable == table.id)
        #expect(refusal { () throws(KernelError) in try table.close() } == .resourceBusy)
        try third.destroy()
        try table.close()
      }
    }

    @Test(arguments: Variant.allCases)
    func getHWInfo(_ variant: Variant) throws {
      try PageTableFixture.run(variant) { fixture in
        guard let device = fixture.devices.first else {
          let none = #expect(throws: KernelError.self) {
            _ = try IOMMUHardwareInfo(of: IOMMUFDObjectID(0), in: fixture.context)
          }
          #expect(none?.errno == .noSuchFileOrDirectory && none?.iommufdCode == .noSuchObject)
          return
        }
        let expected = littleEndianBytes(0, CMOCK_HW_INFO_REGISTER)
        for length in [0, 8, 24, 4] {
          var command = abi_iommu_hw_info()
          command.dev_id = device.id.rawValue
          var buffer = [UInt8](repeating: 0xa5, count: 32)
          let fd = fixture.context.descriptor
          try kernelCall("IOMMU_GET_HW_INFO") {
            unsafe abi_iommu_get_hw_info(fd, &command, &buffer, UInt32(length))
          }
          let filled = (expected + [UInt8](repeating: 0, count: 16)).prefix(length)
          #expect(buffer == Array(filled) + [UInt8](repeating: 0xa5, count: 32 - length))
          #expect(command.data_len == 8 && command.out_data_type == CMOCK_HW_INFO_TYPE)
        }
        let info = try device.hardwareInfo()
        #expect(info.kind == .other(CMOCK_HW_INFO_TYPE, expected) && info.pasidBits == 0)
        #expect(info.tracksDirtyPages && info.capabilities.contains(.withoutATS))
        #expect(
          try IOMMUHardwareInfo(of: device.id, in: fixture.context, type: CMOCK_HW_INFO_TYPE).kind
            == info.kind)
        let wrong = #expect(throws: KernelError.self) {
          _ = try IOMMUHardwareInfo(of: device.id, in: fixture.context, type: CMOCK_HW_INFO_TYPE + 1)
        }
        #expect(wrong?.iommufdCode == .unsupportedValue)
        let pasidDevice = try MockDevice(attachedTo: fixture.ioas, flags: .pasid)
        #expect(try pasidDevice.bound(to: fixture.ioas).pasidBits() == Int(CMOCK_PASID_BITS))
      }
    }
  }
}

extension HWPageTable {
  /// The table that this one is nested in.
  var nestParent: HWPageTable? {
    switch kind {
    case .nested(let parent): parent
    case .nestedInVIOMMU(let viommu): viommu.parent
    case .paging: nil
    }
  }
}
