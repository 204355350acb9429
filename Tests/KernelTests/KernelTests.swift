// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing
import VFIO

/// T2: the kernel's own objects, without a device or with mock devices.
///
/// One test at a time: descriptors are counted, and the limit of locked memory is the process's.
@Suite(.serialized, .lab("intel-iommu"))
struct KernelTests {
  private func concerns(_ path: String) -> Bool {
    path.hasPrefix("/dev/iommu") || path.hasPrefix("/dev/vfio")
  }

  @Test func anIOASWithoutDevicesAllowsAllAddresses() throws {
    let space = try IOAS(in: IOMMUFDContext())
    #expect(space.reservations.allowed == [IOVARange(start: IOVA(0), last: IOVA(.max))])
  }

  @Test func memoryIsMappedAndComesBack() throws {
    let space = try IOAS(in: IOMMUFDContext())
    for byteCount in [4096, 12288, 1 << 21] {
      var memory = try UnsharedMemory(byteCount: byteCount)
      do {
        var bytes = memory.bytes
        bytes.storeBytes(of: 0x77, toByteOffset: byteCount - 1, as: UInt8.self)
      }
      let exposed = try space.expose(memory, access: .readWrite)
      #expect(exposed.load(UInt8.self, at: byteCount - 1) == 0x77)
      var back = try exposed.reclaim()
      let last = unsafe back.bytes.unsafeLoad(fromByteOffset: byteCount - 1, as: UInt8.self)
      #expect(last == 0x77)
    }
  }

  @Test func theLastPageOf64BitsCanBeMapped() throws {
    let space = try IOAS(in: IOMMUFDContext())
    let memory = try space.expose(UnsharedMemory(byteCount: 4096), access: .read, at: IOVA(.max - 4095))
    #expect(memory.iova == IOVA(.max - 4095))
    let wraps = #expect(throws: KernelError.self) {
      _ = try space.expose(UnsharedMemory(byteCount: 8192), access: .read, at: IOVA(.max - 4095))
    }
    #expect(wraps?.errno == .invalidArgument)
  }

  @Test func droppedMemoryIsUnmapped() throws {
    let space = try IOAS(in: IOMMUFDContext())
    let iova = IOVA(0x10_0000)
    for _ in 0..<3 {
      let memory = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite, at: iova)
      #expect(memory.iova == iova)
    }
    let range = IOVARange(start: iova, last: IOVA(0x10_0fff))
    let error = #expect(throws: KernelError.self) { try space.unmapPages(range) }
    #expect(error?.errno == .noSuchFileOrDirectory && error?.operation == "IOMMU_IOAS_UNMAP")
  }

  /// Ids are used again, so a second destroy would hit a stranger: an IOAS destroys its own once.
  @Test func objectsAreDestroyedOnce() throws {
    let context = try IOMMUFDContext()
    let first = try IOAS(in: context).id
    let second = try IOAS(in: context)
    #expect(second.id == first, "the id is free again")
    _ = try second.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
  }

  @Test func hardwareInfoOfNoDeviceIsNoEntry() throws {
    let error = #expect(throws: KernelError.self) {
      _ = try IOMMUHardwareInfo(of: IOMMUFDObjectID(0xffff), in: IOMMUFDContext())
    }
    #expect(error?.operation == "IOMMU_GET_HW_INFO" && error?.errno == .noSuchFileOrDirectory)
  }

  @Test(arguments: VFIOMode.allCases.filter(\.usesGroup))
  func aContainerOpensAndHasNoAddressesWithoutGroups(_ mode: VFIOMode) throws {
    let container = try VFIOContainer(mode: mode)
    #expect(container.reservations.allowed.isEmpty)
    let error = #expect(throws: KernelError.self) {
      _ = try container.expose(UnsharedMemory(byteCount: 4096), access: .read)
    }
    #expect(error?.errno == .noSpace)
  }

  @Test func aMissingGroupIsNamed() throws {
    let error = #expect(throws: KernelError.self) {
      _ = try VFIOGroup(9999, joining: VFIOContainer(mode: .type1v2))
    }
    #expect(error?.subject == "/dev/vfio/9999" && error?.remedy?.contains("vfioctl bind") == true)
  }

  /// An IOAS without a device pins nothing, so the refusal itself is tested with one (DMATests).
  @Test func theLockLimitOfTheMomentIsRead() throws {
    try MemoryLockFixture.limited(to: 65536) {
      let limit = try MemoryLockLimit.current()
      #expect(limit.limit == 65536 && !limit.isPrivileged)
    }
    #expect(try MemoryLockLimit.current().isPrivileged)
  }

  #if DEBUG
    @Test func everyCallMayFail() throws {
      let swept = try faultSweep(.noMemory, concerning: concerns) { plan in
        do {
          try FaultPlan.$current.withValue(plan) {
            let space = try IOAS(in: IOMMUFDContext())
            try space.refreshAllowedRanges()
            let memory = try space.expose(UnsharedMemory(byteCount: 8192), access: .readWrite)
            _ = try memory.reclaim()
          }
        } catch let error as KernelError {
          #expect(plan.wasReached && error.errno == .noMemory)
        }
      }
      #expect(swept >= 8, "\(swept) calls")
    }
  #endif
}
