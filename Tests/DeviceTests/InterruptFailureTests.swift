// SPDX-License-Identifier: Apache-2.0
#if DEBUG
  import DeviceRegisters
  import DriverCore
  import LinuxHandles
  import PCIBus
  import SystemPackage
  import TestSupport
  import Testing
  import VFIO

  extension DeviceTests {
    /// Every kernel call of interrupts, doorbells and revocation fails once; nothing may be left behind.
    @Suite struct InterruptFailureTests {
      private static func sweep(_ address: PCIAddress, _ body: (borrowing VFIODevice) throws -> Void) throws
        -> Int
      {
        try LabFunction.lend(address)
        return try faultSweep(.ioError, concerning: concernsVFIO) { plan in
          let device = try VFIODevice.open(address, mode: LabFunction.anyMode)
          do {
            try FaultPlan.$current.withValue(plan) { try body(device) }
          } catch let error as KernelError {
            #expect(error.errno == .ioError && plan.wasReached, "\(error)")
          } catch let error as DriverError {
            #expect(error.kernelError?.errno == .ioError && plan.wasReached, "\(error)")
          }
        }
      }

      @Test func vectors() throws {
        let swept = try Self.sweep(LabFunction.nvme) { device in
          let reactor = try EventReactor()
          let vectors = try device.armInterrupts(.msix, vectors: 1..<8, except: [2, 6, 7])
          try vectors.extend(by: 6..<8)
          try vectors.trigger([1, 7])
          let vector = vectors.take(7)
          var waiter = try InterruptWaiter()
          try waiter.add(vector)
          try waiter.wait { _, _ in }
          try waiter.remove(7)
          let calls = try vector.serve(on: reactor) { _ in }
          calls.cancel()
          let stream = try device.events.stream(on: reactor)
          withExtendedLifetime(stream) {}
          try device.reset()
          try vector.close()
        }
        #expect(swept > 20, "\(swept) calls")
      }

      @Test func theLineAndDoorbells() throws {
        let swept = try Self.sweep(LabFunction.edu) { device in
          let vector = try device.armInterrupts(.intx, count: 1).take(0)
          let resample: EventFD? = try EventFD()
          try vector.rearm(whenSignalled: resample)
          try vector.mask()
          try vector.rearm()
          let doorbell = try device.makeDoorbell(
            at: Register32(byteOffset: 4, access: .readWrite), in: .bar0, writing: 1)
          try doorbell.close()
        }
        #expect(swept > 7, "\(swept) calls")
      }

      @Test func revocation() throws {
        let swept = try Self.sweep(LabFunction.secondEdu) { device in
          let reactor = try EventReactor()
          try device.revokeWhenRemovalIsRequested(after: .seconds(60), on: reactor)
          let window = try device.mapBAR(.bar0)
          do throws(KernelError) {
            try device.revoke()
          } catch {
            // It can be called again, whatever failed; the plan has nothing more to fail.
            try device.revoke()
            #expect(window.load(UInt32.self, at: 0) == .max)
            throw error
          }
          #expect(window.load(UInt32.self, at: 0) == .max)
        }
        #expect(swept > 9, "\(swept) calls")
      }
    }
  }
#endif
