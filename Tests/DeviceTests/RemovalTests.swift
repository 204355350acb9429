// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore
import EduDriver
import Glibc
import LinuxHandles
import PCIBus
import Synchronization
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// The kernel takes functions away while they are open: unbound, removed, unplugged.
  @Suite struct RemovalTests {
    /// Registers, DMA and waits for interrupts without end, on a thread of its own.
    private final class Traffic {
      private let outcome = Outcome()
      private var thread: OwnedThread?

      /// What the thread tells.
      private final class Outcome: Sendable {
        let error = Mutex<DriverError?>(nil)
        let rounds = Atomic<Int>(0)
      }

      var roundCount: Int { outcome.rounds.load(ordering: .relaxed) }

      /// Runs until the driver throws.
      func start(_ driver: consuming EduDriver<VFIODevice>) throws {
        let holder = Holder(driver)
        let started = try OwnedThread { [outcome] in
          do throws(DriverError) {
            let bytes = [UInt8](repeating: 0x5a, count: 64)
            while true {
              try unsafe holder.driver.copyToDevice(bytes.span.bytes, by: .msi)
              outcome.rounds.add(1, ordering: .relaxed)
            }
          } catch {
            outcome.error.withLock { $0 = error }
          }
        }
        thread = consume started
      }

      /// What ended it.
      func end() -> DriverError? {
        let ended = thread.take()
        _ = consume ended
        return outcome.error.withLock { $0 }
      }

      /// The thread is the only one that uses it.
      private final class Holder: @unchecked Sendable {
        let driver: EduDriver<VFIODevice>
        init(_ driver: consuming EduDriver<VFIODevice>) { self.driver = driver }
      }
    }

    /// A write to sysfs that the kernel answers when the device is free.
    private struct Write: ~Copyable {
      private let thread: OwnedThread
      private let isDone: Done

      final class Done: Sendable { let flag = Atomic<Bool>(false) }

      init(_ text: String, to path: String) throws {
        let done = Done()
        isDone = done
        thread = try OwnedThread {
          let fd = unsafe open(path, O_WRONLY | O_CLOEXEC)
          if unsafe write(fd, text, text.utf8.count) == text.utf8.count {
            done.flag.store(true, ordering: .relaxed)
          }
          close(fd)
        }
      }
      var hasReturned: Bool { isDone.flag.load(ordering: .relaxed) }
      func wait() throws {
        try Deadline(.seconds(60)).poll("the kernel to let the device go") { hasReturned }
      }
    }

    private static func unbind(_ address: PCIAddress) throws -> Write {
      try Write("\(address)", to: "/sys/bus/pci/drivers/vfio-pci/unbind")
    }

    @Test(arguments: LabFunction.eachInterface)
    func aDriverThatClosesWhenAskedLetsUnbindGoOn(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.secondEdu, mode)
      let events = device.events
      #expect(try events.poll() == nil)
      let unbinding = try Self.unbind(LabFunction.secondEdu)
      #expect(try events.wait(until: Deadline(.seconds(60))) == .removalRequested)
      let isEarly = unbinding.hasReturned
      #expect(!isEarly)
      try device.close()
      try unbinding.wait()
      #expect(try PCIBus().function(at: LabFunction.secondEdu).driver == nil)
    }

    @Test func aFunctionIsRemovedWhileItIsOpen() throws {
      let device = try LabFunction.open(LabFunction.secondEdu, LabFunction.anyMode)
      let removing = try Write("1", to: "/sys/bus/pci/devices/\(LabFunction.secondEdu)/remove")
      #expect(try device.events.wait(until: Deadline(.seconds(60))) == .removalRequested)
      try device.close()
      try removing.wait()
      #expect(!HotSlot.isPresent(LabFunction.secondEdu))
      try Write("1", to: "/sys/bus/pci/rescan").wait()
      #expect(HotSlot.isPresent(LabFunction.secondEdu))
    }

    /// Nobody closes: after the grace everything ends with errors that say why, and unbind goes on.
    @Test(arguments: LabFunction.modes)
    func afterTheGraceTheDeviceIsGivenBack(_ mode: VFIOMode) throws {
      let reactor = try EventReactor()
      let device = try LabFunction.open(LabFunction.secondEdu, mode)
      let events = device.events
      try device.revokeWhenRemovalIsRequested(after: .milliseconds(300), on: reactor)
      let traffic = Traffic()
      try traffic.start(try EduDriver(device, patience: .seconds(10)))
      try Deadline(.seconds(60)).poll("traffic") { traffic.roundCount > 2 }
      let start = ContinuousClock.now
      let unbinding = try Self.unbind(LabFunction.secondEdu)
      #expect(try events.wait(until: Deadline(.seconds(60))) == .removalRequested)
      #expect(try events.wait(until: Deadline(.seconds(60))) == .removed)
      #expect(start.duration(to: .now) >= .milliseconds(300))
      try unbinding.wait()
      let end = traffic.end()
      #expect(end?.code == .removed, "\(end?.description ?? "no error")")
    }

    @Test(arguments: LabFunction.modes)
    func aRevokedDeviceAnswersWithErrors(_ mode: VFIOMode) throws {
      let leaks = LeakCheck(concerning: concernsVFIO)
      do {
        let device = try LabFunction.open(LabFunction.secondEdu, mode)
        do {
          let window = try device.mapBAR(.bar0)
          let vector = try device.armInterrupts(.msi, count: 1).take(0)
          let memory = try device.addressSpace.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
          let doorbell = try device.makeDoorbell(
            at: Register32(byteOffset: 4, access: .readWrite), in: .bar0, writing: 1)
          try device.revoke()
          try device.revoke()
          #expect(window.load(UInt32.self, at: 0) == .max && window.load(UInt64.self, at: 0x80) == .max)
          let waited = #expect(throws: DriverError.self) {
            _ = try vector.wait(until: Deadline(.seconds(60)))
          }
          #expect(waited?.code == .removed)
          #expect(throws: KernelError.self) { try device.setBusMaster(true) }
          let mapped = #expect(throws: KernelError.self) { _ = try device.mapBAR(.bar0) }
          #expect(mapped?.errno == .operationNotSupportedByDevice, "\(mapped?.description ?? "")")
          let triggered = #expect(throws: KernelError.self) { try vector.trigger() }
          #expect(triggered?.errno == .operationNotSupportedByDevice)
          let armed = #expect(throws: KernelError.self) { _ = try device.armInterrupts(.intx, count: 1) }
          #expect(armed != nil)
          let refusals = [
            #expect(throws: KernelError.self) { _ = try device.probe(.migration) },
            #expect(throws: KernelError.self) { _ = try device.migration.methods() },
            #expect(throws: KernelError.self) { _ = try device.hotResetInfo() },
            #expect(throws: KernelError.self) { try device.hotReset() },
            #expect(throws: KernelError.self) { _ = try device.exportDMABuf(of: .bar0, [0..<4096]) },
          ]
          for refusal in refusals {
            #expect(refusal?.errno == .operationNotSupportedByDevice, "\(refusal as Any)")
            #expect(refusal?.remedy?.contains("taken away") == true, "\(refusal as Any)")
          }
          _ = try memory.reclaim()
          try doorbell.close()
        }
        // The kernel has it back: nobody needs to close it for another owner, but for its group.
        if !mode.usesGroup { try VFIODevice.open(LabFunction.secondEdu, mode: mode).close() }
        try device.close()
      }
      try leaks.verify()
    }

    // MARK: Hot plug

    /// QEMU unplugs the device, as a hand at the machine would: with and without a driver that listens.
    @Test(arguments: [true, false])
    func aDeviceIsUnpluggedUnderTraffic(_ isHeeded: Bool) throws {
      let monitor = try LabMonitor()
      let address = try HotSlot.plug("edu", on: monitor)
      let reactor = try EventReactor()
      let device = try LabFunction.open(address, LabFunction.anyMode)
      let events = device.events
      if isHeeded {
        try monitor.unplug("hot")
        #expect(try events.wait(until: Deadline(.seconds(60))) == .removalRequested)
        try device.close()
      } else {
        try device.revokeWhenRemovalIsRequested(after: .milliseconds(300), on: reactor)
        let traffic = Traffic()
        try traffic.start(try EduDriver(device, patience: .seconds(10)))
        try monitor.unplug("hot")
        #expect(try events.wait(until: Deadline(.seconds(60))) == .removalRequested)
        #expect(try events.wait(until: Deadline(.seconds(60))) == .removed)
        let end = traffic.end()
        #expect(end?.code == .removed, "\(end?.description ?? "no error")")
        #expect(traffic.roundCount > 0)
      }
      try HotSlot.requireUnplugged(address, on: monitor)
    }

    // MARK: Errors

    /// In QEMU igb's switch for error messages stays off; that of its virtio devices does not.
    @Test func anErrorOnTheBusIsAnEvent() throws {
      let monitor = try LabMonitor()
      let address = try HotSlot.plug("virtio-rng-pci", on: monitor, ["aer": true])
      let device = try LabFunction.open(address, LabFunction.anyMode)
      #expect(try device.events.poll() == nil)
      try monitor.injectError("COMP_TIME", into: "hot")
      #expect(try device.events.wait(until: Deadline(.seconds(30))) == .error)
      try device.close()
      try monitor.unplug("hot")
      try HotSlot.requireUnplugged(address, on: monitor)
    }
  }
}
