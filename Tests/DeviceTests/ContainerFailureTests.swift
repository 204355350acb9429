// SPDX-License-Identifier: Apache-2.0
#if DEBUG
  import DMACore
  import LinuxHandles
  import PCIBus
  import SystemPackage
  import TestSupport
  import Testing
  import VFIO

  extension DeviceTests {
    /// Every kernel call that only a container has fails once; nothing may be left behind.
    @Suite struct ContainerFailureTests {
      private static func sweep(_ body: () throws -> Void) throws -> Int {
        try faultSweep(.ioError, concerning: concernsVFIO) { plan in
          do {
            try FaultPlan.$current.withValue(plan) { try body() }
          } catch let error as KernelError {
            #expect(error.errno == .ioError && plan.wasReached, "\(error)")
          }
        }
      }

      @Test func trackingDirtyPages() throws {
        let device = try LabFunction.open(LabFunction.edu, .type1v2)
        let container = try ContainerTests.container(of: device)
        let swept = try Self.sweep {
          let memory = try container.expose(UnsharedMemory(byteCount: 8192), access: .readWrite)
          let range = IOVARange(start: memory.iova, last: memory.iova.advanced(byByteCount: 8191))
          let tracking = try container.trackDirtyPages()
          _ = try tracking.takeDirtyPages(in: range)
          var dirty: DirtyBitmap?
          _ = try tracking.reclaim(memory, dirty: &dirty)
          #expect(dirty?.dirtyPageCount == 2)
          try tracking.stop()
        }
        #expect(swept >= 7, "\(swept) calls")
        // A log that failed to start or to stop does not stand in the way of the next one.
        try container.trackDirtyPages().stop()
      }

      @Test(arguments: ContainerTests.real)
      func changingAnAddress(_ mode: VFIOMode) throws {
        let device = try LabFunction.open(LabFunction.edu, mode)
        let container = try ContainerTests.container(of: device)
        let swept = try Self.sweep {
          let memory = try UnsharedMemory(byteCount: 4096, kind: .file)
          guard let file = try memory.duplicateFile() else { return }
          let second = try MappedMemory.sharing(file, offset: 0, byteCount: 4096)
          let exposed = try container.expose(memory, access: .readWrite)
          let range = IOVARange(start: exposed.iova, last: exposed.iova.advanced(byByteCount: 4095))
          try unsafe container.suspendMapping(range).resume(at: second.baseAddress)
          _ = try exposed.reclaim()
        }
        #expect(swept >= 9, "\(swept) calls")
      }

      @Test(arguments: ContainerTests.real + ContainerTests.compat)
      func joiningAskingAndLeaving(_ mode: VFIOMode) throws {
        try LabFunction.lend(LabFunction.edu)
        let number = try #require(PCIBus().function(at: LabFunction.edu).iommuGroup)
        let swept = try Self.sweep {
          let container = try VFIOContainer(mode: mode)
          let group = try VFIOGroup(number, joining: container)
          _ = try container.offers(.unmapAll)
          try group.leave()
        }
        try VFIODevice.open(LabFunction.edu, mode: mode).close()
        #expect(swept >= 9, "\(swept) calls")
      }
    }
  }
#endif
