// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import DMACore
import Glibc
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// PASIDs of a container: by the kernel's request where the kernel has it, which only the patched one has.
  @Suite struct PASIDRequestTests {
    private static var hasRequest: Bool { Lab.kernel == "patched" }

    private func range(_ first: UInt32, _ last: UInt32) -> ClosedRange<PASID> {
      (PASID(first) ?? .highest)...(PASID(last) ?? .highest)
    }

    private func errno(_ body: () throws(KernelError) -> Void) -> Errno? {
      do throws(KernelError) {
        try body()
        return nil
      } catch {
        return error.errno
      }
    }

    @Test(arguments: ContainerTests.real)
    func whoAnswersIsTold(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let allocator = PASIDAllocator(of: try ContainerTests.container(of: device))
      let lease = try allocator.allocate(in: range(10, 20))
      let number = lease.pasid.rawValue
      #expect(number == 10 && allocator.backing == (Self.hasRequest ? .kernel : .process))
      let second = try allocator.allocate(in: range(10, 11))
      let next = second.pasid.rawValue
      #expect(next == 11)
      #expect(errno { () throws(KernelError) in _ = try allocator.allocate(in: range(10, 11)) } == .noSpace)
      try lease.free()
      let again = try allocator.allocate(in: range(10, 11))
      let same = again.pasid.rawValue
      #expect(same == 10)
      try second.free()
      try again.free()
      #expect(allocator.allocated.isEmpty)
    }

    /// The quota is the process's, over all its containers; a container's PASIDs go with it.
    @Test(arguments: ContainerTests.real)
    func theQuotaHolds(_ mode: VFIOMode) throws {
      do {
        let device = try LabFunction.open(LabFunction.edu, mode)
        let container = try ContainerTests.container(of: device)
        // Never given back: the kernel takes it with the container.
        let count = Self.hasRequest ? 999 : 1000
        if Self.hasRequest { _ = try container.takePASID(in: range(5000, 5000)) }
        // More than the kernel allows, so that it is the kernel who refuses.
        let allocator = PASIDAllocator(of: container, quota: Self.hasRequest ? 2000 : 1000)
        var held: [Lease] = []
        for _ in 0..<count { held.append(try Lease(allocator.allocate())) }
        #expect(allocator.allocated.count == count)
        #expect(errno { () throws(KernelError) in _ = try allocator.allocate() } == .noSpace)
        held.removeLast()
        held.append(try Lease(allocator.allocate()))
      }
      let device = try LabFunction.open(LabFunction.edu, mode)
      let allocator = PASIDAllocator(of: try ContainerTests.container(of: device))
      var held: [Lease] = []
      for _ in 0..<1000 { held.append(try Lease(allocator.allocate())) }
      #expect(held.count == 1000, "all of the first container's are back")
    }

    @Test func aContainerFreesOnlyItsOwn() throws {
      let device = try LabFunction.open(LabFunction.edu, .type1v2)
      let other = try LabFunction.open(LabFunction.nvme, .type1v2)
      let (mine, theirs) = (try ContainerTests.container(of: device), try ContainerTests.container(of: other))
      guard Self.hasRequest else {
        #expect(
          errno { () throws(KernelError) in _ = try mine.takePASID(in: .all) } == .inappropriateIOCTLForDevice
        )
        return
      }
      let pasid = try mine.takePASID(in: range(7, 7))
      #expect(errno { () throws(KernelError) in _ = try theirs.takePASID(in: range(7, 7)) } == .noSpace)
      #expect(errno { () throws(KernelError) in try theirs.giveBackPASID(pasid) } == .invalidArgument)
      try mine.giveBackPASID(pasid)
      #expect(errno { () throws(KernelError) in try mine.giveBackPASID(pasid) } == .invalidArgument)
      #expect(
        errno { () throws(KernelError) in _ = try mine.takePASID(in: range(0, 0)) } == .noSpace,
        "0 is the device itself")
    }

    /// Another process that has the same descriptor, as after a fork, frees nothing of this one's.
    @Test func aProcessFreesOnlyItsOwn() throws {
      let device = try LabFunction.open(LabFunction.edu, .type1v2)
      let container = try ContainerTests.container(of: device)
      guard Self.hasRequest else {
        #expect(ctest_free_pasid_elsewhere(container.descriptor, 8) == -ENOTTY)
        return
      }
      let pasid = try container.takePASID(in: range(8, 8))
      #expect(ctest_free_pasid_elsewhere(container.descriptor, 8) == -EINVAL)
      #expect(errno { () throws(KernelError) in _ = try container.takePASID(in: range(8, 8)) } == .noSpace)
      try container.giveBackPASID(pasid)
    }

    /// The kernel takes back what a process has when it dies, whatever it was about to do.
    @Test func theDeathOfAProcessGivesItsBack() throws {
      let device = try LabFunction.open(LabFunction.edu, .type1v2)
      let container = try ContainerTests.container(of: device)
      try LabFunction.lend(LabFunction.nvme)
      let group = try #require(try PCIBus().function(at: LabFunction.nvme).iommuGroup)
      var holder = ctest_pasid_holder()
      let answer = unsafe ctest_hold_pasid("/dev/vfio/\(group)", 9, 9, &holder)
      defer {
        kill(holder.process, SIGKILL)
        waitpid(holder.process, nil, 0)
      }
      guard Self.hasRequest else {
        #expect(answer == -ENOTTY)
        return
      }
      try #require(answer == 0)
      #expect(holder.pasid == 9)
      #expect(errno { () throws(KernelError) in _ = try container.takePASID(in: range(9, 9)) } == .noSpace)
      kill(holder.process, SIGKILL)
      let isReaped = waitpid(holder.process, nil, 0) == holder.process
      #expect(isReaped)
      try container.giveBackPASID(try container.takePASID(in: range(9, 9)))
    }

    #if DEBUG
      /// Each call of taking and giving back fails in turn; the container has all of its PASIDs afterwards.
      @Test(arguments: ContainerTests.real)
      func everyCallMayFail(_ mode: VFIOMode) throws {
        let device = try LabFunction.open(LabFunction.edu, mode)
        let container = try ContainerTests.container(of: device)
        let swept = try faultSweep(.ioError, concerning: concernsVFIO) { plan in
          let allocator = PASIDAllocator(of: container)
          var refused: Errno?
          FaultPlan.$current.withValue(plan) {
            refused = errno { () throws(KernelError) in try allocator.allocate(in: range(30, 30)).free() }
          }
          #expect(refused == nil || refused == .ioError)
          try PASIDAllocator(of: container).allocate(in: range(30, 30)).free()
        }
        // One to take, one to give back; elsewhere the one that answers that there is no such request.
        #expect(swept == (Self.hasRequest ? 2 : 1))
      }
    #endif

    @Test(arguments: ContainerTests.compat)
    func theImitationHasNone(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let allocator = PASIDAllocator(of: try ContainerTests.container(of: device))
      let lease = try allocator.allocate()
      let number = lease.pasid.rawValue
      #expect(number == 1 && allocator.backing == .process)
    }

    /// An array takes no lease itself.
    private final class Lease: Sendable {
      private let lease: PASIDLease
      init(_ lease: consuming PASIDLease) { self.lease = lease }
    }
  }
}
