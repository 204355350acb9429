// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// Forward and backward compatibility of the commands above the address space; see `AcceptanceContextTests`.
  @Suite struct CommandLengthTests {
    static let commands = [
      CommandLength("HWPT_ALLOC", number: 0x89, minimum: 24, byteCount: 48),
      CommandLength("HWPT_SET_DIRTY_TRACKING", number: 0x8b, minimum: 16, byteCount: 16),
      CommandLength("HWPT_GET_DIRTY_BITMAP", number: 0x8c, minimum: 48, byteCount: 48),
      CommandLength("HWPT_INVALIDATE", number: 0x8d, minimum: 32, byteCount: 32),
      CommandLength("VIOMMU_ALLOC", number: 0x90, minimum: 24, byteCount: 40),
      CommandLength("VDEVICE_ALLOC", number: 0x91, minimum: 24, byteCount: 24),
      CommandLength("VEVENTQ_ALLOC", number: 0x93, minimum: 28, byteCount: 32),
      CommandLength("HW_QUEUE_ALLOC", number: 0x94, minimum: 40, byteCount: 40),
    ]

    @Test(arguments: commands)
    func commandLength(_ command: CommandLength) throws {
      func answer(_ size: Int, tail: UInt8 = 0) throws -> CInt {
        command.answer(claiming: size, tail: tail, in: try IOMMUFDContext())
      }
      #expect(try answer(command.minimum - 1) == -Errno.invalidArgument.rawValue)
      #expect(try answer(command.byteCount + 1, tail: 1) == -Errno.argListTooLong.rawValue)
      let exact = try answer(command.byteCount)
      #expect(exact < 0)
      #expect(try answer(command.byteCount + 1) == exact)
      // What older callers do not send is zero.
      #expect(try answer(command.minimum) == exact)
    }

    /// It succeeds, so its descriptors must be closed.
    @Test func faultQueueLength() throws {
      let context = try IOMMUFDContext()
      for (size, tail, expected) in [
        (15, 0, Errno.invalidArgument), (17, 1, .argListTooLong), (16, 0, nil), (17, 0, nil),
      ] as [(UInt32, UInt32, Errno?)] {
        var words: [UInt32] = [size, 0, 0, 0, tail, 0]
        let result = unsafe cmock_command(context.descriptor, 0x8e, &words)
        #expect(result == -(expected?.rawValue ?? 0), "\(size)")
        if result == 0 {
          try OwnedDescriptor(adopting: CInt(bitPattern: words[3])).close()
          try context.destroyForTest(IOMMUFDObjectID(words[2]))
        }
      }
    }
  }
}
