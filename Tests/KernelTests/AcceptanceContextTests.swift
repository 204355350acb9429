// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing
import VFIO

extension KernelTests {
  /// What the kernel's own suite checks of a context without devices (fixture iommufd), written anew.
  ///
  /// Calls that no caller of the library can make, because they are malformed, are made by their numbers.
  @Suite struct AcceptanceContextTests {
    @Test func simpleClose() throws {
      let leaks = LeakCheck { $0.hasPrefix("/dev/iommu") }
      do { _ = try IOMMUFDContext() }
      try leaks.verify()
    }

    @Test func commandFails() throws {
      let context = try IOMMUFDContext()
      refused(.noSuchFileOrDirectory) { try context.destroyForTest(IOMMUFDObjectID(0)) }
      let nowhere = cmock_command(context.descriptor, 0x80, nil)
      #expect(nowhere == -Errno.badAddress.rawValue)
      var words: [UInt32] = [8, 0]
      let noSuchCommand = unsafe cmock_command(context.descriptor, 0x7f, &words)
      #expect(noSuchCommand == -Errno.inappropriateIOCTLForDevice.rawValue)
    }

    static let commands = [
      CommandLength("DESTROY", number: 0x80, minimum: 8, byteCount: 8),
      CommandLength("IOAS_ALLOC", number: 0x81, minimum: 12, byteCount: 12),
      CommandLength("IOAS_ALLOW_IOVAS", number: 0x82, minimum: 24, byteCount: 24),
      CommandLength("IOAS_COPY", number: 0x83, minimum: 40, byteCount: 40),
      CommandLength("IOAS_IOVA_RANGES", number: 0x84, minimum: 32, byteCount: 32),
      CommandLength("IOAS_MAP", number: 0x85, minimum: 40, byteCount: 40),
      CommandLength("IOAS_UNMAP", number: 0x86, minimum: 24, byteCount: 24),
      CommandLength("OPTION", number: 0x87, minimum: 24, byteCount: 24),
      CommandLength("VFIO_IOAS", number: 0x88, minimum: 12, byteCount: 12),
      CommandLength("GET_HW_INFO", number: 0x8a, minimum: 32, byteCount: 40),
      CommandLength("IOAS_MAP_FILE", number: 0x8f, minimum: 40, byteCount: 40),
      CommandLength("IOAS_CHANGE_PROCESS", number: 0x92, minimum: 8, byteCount: 8),
      CommandLength("IOAS_NOIOMMU_GET_PA", number: 0x95, minimum: 40, byteCount: 40),
    ]

    /// Older and newer callers than the kernel: what is too short is refused, and what is longer must end in zeros.
    @Test(arguments: commands)
    func commandLength(_ command: CommandLength) throws {
      let context = try IOMMUFDContext()
      func answer(_ size: Int, tail: UInt8 = 0) -> CInt {
        command.answer(claiming: size, tail: tail, in: context)
      }
      #expect(answer(command.minimum - 1) == -Errno.invalidArgument.rawValue)
      #expect(answer(command.byteCount + 1, tail: 1) == -Errno.argListTooLong.rawValue)
      let exact = answer(command.byteCount)
      #expect(answer(command.byteCount + 1) == exact)
    }

    @Test func commandWithMore() throws {
      let context = try IOMMUFDContext()
      func answer(_ words: [UInt32]) -> CInt {
        var words = words
        return unsafe cmock_command(context.descriptor, 0x80, &words)
      }
      #expect(answer([16, 0, 0, 0]) == -Errno.noSuchFileOrDirectory.rawValue)
      #expect(answer([16, 0, 0, 1]) == -Errno.argListTooLong.rawValue)
      #expect(answer([8, 0]) == -Errno.noSuchFileOrDirectory.rawValue)
      #expect(answer([7, 0]) == -Errno.invalidArgument.rawValue)
    }

    @Test func globalOptions() throws {
      let context = try IOMMUFDContext()
      #expect(try context.lockAccounting() == .user)
      try context.setLockAccounting(.process)
      let fd = context.descriptor
      #expect(abi_iommu_option_set(fd, ABI_IOMMU_OPTION_RLIMIT_MODE, 0, 2) == -Errno.invalidArgument.rawValue)
      #expect(try context.lockAccounting() == .process)
      try context.setLockAccounting(.user)
      var value: UInt64 = 0
      let missing = -Errno.noSuchFileOrDirectory.rawValue
      let ofNone = unsafe abi_iommu_option_get(fd, ABI_IOMMU_OPTION_HUGE_PAGES, 0, &value)
      #expect(ofNone == missing)
      #expect(abi_iommu_option_set(fd, ABI_IOMMU_OPTION_HUGE_PAGES, 0, 1) == missing)
      // Once there is an object, it is too late.
      let space = try IOAS(in: context)
      let late = #expect(throws: KernelError.self) { try context.setLockAccounting(.process) }
      #expect(late?.errno == .resourceBusy && late?.remedy?.contains("before") == true)
      _ = consume space
    }

    @Test func simpleCommandsOfVFIO() throws {
      let context = try IOMMUFDContext()
      #expect(abi_vfio_get_api_version(context.descriptor) == 0)
      #expect(abi_vfio_check_extension(context.descriptor, ABI_VFIO_TYPE1v2_IOMMU) == 1)
      _ = try VFIOContainer(mode: .compatType1v2)
    }

    /// Calls of VFIO that are too short, have unknown flags, or find no address space.
    private static func checkContainerCall(_ number: UInt32, _ words: [UInt32], flags: Bool) throws {
      let context = try IOMMUFDContext()
      func answer(_ change: (inout [UInt32]) -> Void) -> CInt {
        var words = words
        change(&words)
        return unsafe cmock_command(context.descriptor, number, &words)
      }
      #expect(answer { $0[0] = 1 } == -Errno.invalidArgument.rawValue)
      if flags { #expect(answer { $0[1] = 1 << 31 } == -Errno.invalidArgument.rawValue) }
      #expect(answer { _ in } == -Errno.operationNotSupportedByDevice.rawValue)
    }

    @Test func unmapOfVFIO() throws {
      try Self.checkContainerCall(100 + 14, [24, 0, 0, 0, 4096, 0], flags: true)
    }

    @Test func mapOfVFIO() throws {
      let memory = try TestMemory(4096)
      let address = unsafe UInt64(UInt(bitPattern: memory.bytes().baseAddress))
      let words = [32, 3, UInt32(truncatingIfNeeded: address), UInt32(address >> 32), 4096, 0, 4096, 0]
      try Self.checkContainerCall(100 + 13, words, flags: true)
    }

    @Test func infoOfVFIO() throws {
      try Self.checkContainerCall(100 + 12, [24, 0, 0, 0, 0, 0], flags: false)
    }

    @Test func setIOMMUOfVFIO() throws {
      let context = try IOMMUFDContext()
      for type in [ABI_VFIO_TYPE1v2_IOMMU, ABI_VFIO_TYPE1_IOMMU] {
        #expect(
          abi_vfio_set_iommu(context.descriptor, type) == -Errno.operationNotSupportedByDevice.rawValue)
      }
    }

    @Test func addressSpaceOfVFIO() throws {
      let context = try IOMMUFDContext()
      #expect(try context.compatibilityIOAS() == nil)
      var bad: UInt32 = 0xffff_ffff
      let missing = -Errno.noSuchFileOrDirectory.rawValue
      let ofNone = unsafe abi_iommu_vfio_ioas(context.descriptor, ABI_IOMMU_VFIO_IOAS_SET, &bad)
      #expect(ofNone == missing)
      let space = try IOAS(in: context)
      try context.setCompatibilityIOAS(space)
      #expect(try context.compatibilityIOAS() == space.id)
      try context.clearCompatibilityIOAS()
      #expect(try context.compatibilityIOAS() == nil)
      let stranger = try IOAS(in: IOMMUFDContext())
      refused(.invalidArgument) { try context.setCompatibilityIOAS(stranger) }
    }
  }
}
