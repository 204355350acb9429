// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
  /// The kernel's fixture change_process, written anew: who is charged for memory that another process mapped.
  @Suite struct AcceptanceProcessTests {
    enum Variant: String, CaseIterable, Sendable, CustomTestStringConvertible {
      case accountNone = "account_none"
      case accountUser = "account_user"
      case accountProcess = "account_mm"
      var testDescription: String { rawValue }
    }

    private static func usage() throws -> cmock_usage {
      var usage = cmock_usage()
      try kernelCall("/proc/self/status") { unsafe cmock_usage(&usage) }
      return usage
    }

    @Test(arguments: Variant.allCases)
    func basic(_ variant: Variant) throws {
      guard variant != .accountNone else { return try check(variant) }
      try CapabilityFixture.without(.memoryLock) { try check(variant) }
    }

    private func check(_ variant: Variant) throws {
      let context = try IOMMUFDContext()
      if variant == .accountProcess { try context.setLockAccounting(.process) }
      let space = try IOAS(in: context)
      let device = try MockDevice(attachedTo: space)
      try space.refreshAllowedRanges()
      let page = TestMemory.page
      let before = try Self.usage()

      // What is mapped by its address cannot change hands.
      let byAddress = try space.expose(UnsharedMemory(byteCount: page), access: .readWrite)
      let refusal = #expect(throws: KernelError.self) { try context.adoptMappings() }
      #expect(refusal?.errno == .invalidArgument && refusal?.remedy?.contains("exposeFile") == true)
      _ = try byAddress.reclaim()

      let count = 4
      let memory = try space.exposeFile(
        UnsharedMemory(byteCount: count * page, kind: .file), access: .readWrite)
      try context.adoptMappings()
      let mapped = try Self.usage()
      let kib = UInt64(count * page / 1024)
      let locked = variant == .accountProcess ? kib : 0
      #expect(mapped.pinned_kib == before.pinned_kib + kib)
      #expect(mapped.locked_kib == before.locked_kib + locked)

      // A child takes it all over. Swift does not run in a child of a process with threads: its call is made in C.
      var child = cmock_child()
      var childUsage = cmock_usage()
      try kernelCall("IOMMU_IOAS_CHANGE_PROCESS", on: "child") {
        unsafe cmock_fork_adopting(context.descriptor, &child, &childUsage)
      }
      let after = try Self.usage()
      // What nobody is charged for is not moved either.
      let moved = variant == .accountNone ? 0 : kib
      #expect(after.pinned_kib == before.pinned_kib + kib - moved && after.locked_kib == before.locked_kib)
      #expect(childUsage.pinned_kib == moved && childUsage.locked_kib == locked)
      // And back, while the child still lives.
      try context.adoptMappings()
      #expect(try Self.usage().pinned_kib == before.pinned_kib + kib)
      try kernelCall("waitpid") { unsafe cmock_end_child(&child) }
      _ = try memory.reclaim()
      #expect(try Self.usage().pinned_kib == before.pinned_kib)
      #expect(try Self.usage().locked_kib == before.locked_kib)
      try device.destroy()
    }
  }
}
