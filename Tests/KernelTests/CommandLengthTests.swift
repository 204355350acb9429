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
    struct Command: Sendable, CustomTestStringConvertible {
      let testDescription: String
      let number: UInt32
      /// The length that the kernel asks for at least, and the one that it knows.
      let minimum, byteCount: Int
    }
    static let commands = [
      Command(testDescription: "HWPT_ALLOC", number: 0x89, minimum: 24, byteCount: 48),
      Command(testDescription: "HWPT_SET_DIRTY_TRACKING", number: 0x8b, minimum: 16, byteCount: 16),
      Command(testDescription: "HWPT_GET_DIRTY_BITMAP", number: 0x8c, minimum: 48, byteCount: 48),
      Command(testDescription: "HWPT_INVALIDATE", number: 0x8d, minimum: 32, byteCount: 32),
      Command(testDescription: "VIOMMU_ALLOC", number: 0x90, minimum: 24, byteCount: 40),
      Command(testDescription: "VDEVICE_ALLOC", number: 0x91, minimum: 24, byteCount: 24),
      Command(testDescription: "VEVENTQ_ALLOC", number: 0x93, minimum: 28, byteCount: 32),
      Command(testDescription: "HW_QUEUE_ALLOC", number: 0x94, minimum: 40, byteCount: 40),
    ]

    /// Makes a call with a structure of zeros that claims a length.
    private func answer(_ number: UInt32, _ size: Int, tail: UInt8 = 0) throws -> CInt {
      let context = try IOMMUFDContext()
      var bytes = [UInt8](repeating: 0, count: 64)
      bytes[0] = UInt8(size)
      if tail != 0 { bytes[size - 1] = tail }
      return unsafe bytes.withUnsafeMutableBytes {
        unsafe cmock_command(context.descriptor, number, $0.baseAddress)
      }
    }

    @Test(arguments: commands)
    func commandLength(_ command: Command) throws {
      #expect(try answer(command.number, command.minimum - 1) == -Errno.invalidArgument.rawValue)
      #expect(
        try answer(command.number, command.byteCount + 1, tail: 1) == -Errno.argListTooLong.rawValue)
      let exact = try answer(command.number, command.byteCount)
      #expect(exact < 0)
      #expect(try answer(command.number, command.byteCount + 1) == exact)
      // What older callers do not send is zero.
      #expect(try answer(command.number, command.minimum) == exact)
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
