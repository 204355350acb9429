// SPDX-License-Identifier: Apache-2.0
import DriverCore
import Glibc
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension ManyFunctionTests {
  /// What a reset leaves of a device's interrupts; e1000e itself sends them.
  @Suite struct ResetInterruptTests {
    /// Waits for the interrupt of a cause that was raised, and lets the card forget the cause.
    private static func expectInterrupt(
      _ vector: borrowing InterruptVector, _ causes: borrowing NetworkCauses, _ when: String
    ) throws {
      do throws(DriverError) {
        _ = try vector.wait(until: Deadline(.seconds(10)))
      } catch {
        Issue.record("\(when): \(error)")
      }
      causes.acknowledge()
      // QEMU's card throttles: while a cause stands, it tells again after 128 us.
      usleep(1000)
      _ = try vector.poll()
    }

    #if DEBUG
      /// The kernel keeps what it was told, and brings the device's half back; here nothing is armed anew.
      ///
      /// A line that it had masked stays masked.
      @Test(arguments: LabFunction.modes, [InterruptKind.intx, .msi, .msix])
      func theKernelKeepsVectorsArmed(_ mode: VFIOMode, _ kind: InterruptKind) throws {
        let device = try LabFunction.open(ManyFunction.e1000e, mode)
        let vector = try device.armInterrupts(kind, count: 1).take(0)
        let causes = NetworkCauses(try device.mapBAR(.bar0), .e1000e(kind))
        try device.setBusMaster(true)
        causes.raise()
        try Self.expectInterrupt(vector, causes, "before")
        for means in VFIOResetReport.Means.allCases {
          #expect(try Self.reset(device, by: means) == means)
          try device.setBusMaster(true)
          #expect(try vector.poll() == 0)
          causes.raise()
          if kind == .intx {
            let masked = #expect(throws: DriverError.self) {
              _ = try vector.wait(until: Deadline(.milliseconds(50)))
            }
            #expect(masked?.code == .timedOut)
            try vector.rearm()
          }
          try Self.expectInterrupt(vector, causes, "after a \(means.rawValue)")
        }
      }

      /// Resets with nothing restored by this library.
      private static func reset(
        _ device: borrowing VFIODevice, by means: VFIOResetReport.Means
      ) throws -> VFIOResetReport.Means? {
        guard means == .hotReset else { return try device.resetByAnyMeans().means }
        // The command register is read first, and then the function's own reset refused.
        let plan = FaultPlan(atCall: 2, .fails(.invalidArgument))
        return try FaultPlan.$current.withValue(plan) { try device.resetByAnyMeans().means }
      }
    #endif

    /// After either reset of this library the next interrupt comes, whatever there was to be served before.
    @Test(arguments: LabFunction.modes, [InterruptKind.intx, .msi, .msix])
    func bothResetsLeaveVectorsArmed(_ mode: VFIOMode, _ kind: InterruptKind) throws {
      let device = try LabFunction.open(ManyFunction.e1000e, mode)
      let vector = try device.armInterrupts(kind, count: 1).take(0)
      let causes = NetworkCauses(try device.mapBAR(.bar0), .e1000e(kind))
      for isHot in [false, true] {
        try device.setBusMaster(true)
        causes.raise()
        try Self.expectInterrupt(vector, causes, "before")
        if isHot { try device.hotReset() } else { try device.reset() }
        try device.setBusMaster(true)
        causes.raise()
        try Self.expectInterrupt(vector, causes, "after a reset, hot: \(isHot)")
        try vector.rearm()
      }
    }

    @Test(arguments: [false, true])
    func whatTheDriverMaskedStaysMasked(_ isHot: Bool) throws {
      let device = try LabFunction.open(ManyFunction.e1000e, .type1v2)
      let vector = try device.armInterrupts(.intx, count: 1).take(0)
      let causes = NetworkCauses(try device.mapBAR(.bar0), .e1000e(.intx))
      try vector.mask()
      if isHot { try device.hotReset() } else { try device.reset() }
      causes.raise()
      let masked = #expect(throws: DriverError.self) {
        _ = try vector.wait(until: Deadline(.milliseconds(50)))
      }
      #expect(masked?.code == .timedOut)
      try vector.rearm()
      try Self.expectInterrupt(vector, causes, "unmasked")
    }
  }
}
