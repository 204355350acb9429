// SPDX-License-Identifier: Apache-2.0
import DriverCore
import Glibc
import LinuxHandles
import PCIBus
import SystemPackage
import Testing
import VFIO

extension ManyFunctionTests {
  /// Interrupts of a network card, and several messages of MSI.
  @Suite struct ManyInterruptTests {
    private static let patience = Duration.seconds(10)

    @Test(arguments: LabFunction.modes, [InterruptKind.intx, .msi, .msix])
    func aCardInterruptsForEachCause(_ mode: VFIOMode, _ kind: InterruptKind) throws {
      let device = try LabFunction.open(ManyFunction.e1000e, mode)
      let vector = try device.armInterrupts(kind, count: 1).take(0)
      let causes = NetworkCauses(try device.mapBAR(.bar0), .e1000e(kind))
      try device.setBusMaster(true)
      for round in 0..<5 {
        causes.raise()
        // QEMU's card throttles: while a cause stands, it tells again after 128 us.
        #expect(try vector.wait(until: Deadline(Self.patience)) >= 1, "round \(round)")
        causes.acknowledge()
        try vector.rearm()
        usleep(1000)
        _ = try vector.poll()
      }
      try Self.expectSilence(of: vector)
      try vector.close()
      // Disarmed: another kind finds its place.
      _ = try device.armInterrupts(kind == .intx ? .msi : .intx, count: 1)
    }

    @Test(arguments: LabFunction.modes)
    func theLineOfACardIsMasked(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(ManyFunction.e1000e, mode)
      let vector = try device.armInterrupts(.intx, count: 1).take(0)
      let causes = NetworkCauses(try device.mapBAR(.bar0), .e1000e(.intx))
      try vector.mask()
      causes.raise()
      try Self.expectSilence(of: vector)
      try vector.rearm()
      #expect(try vector.wait(until: Deadline(Self.patience)) == 1)
      // Masked by the kernel, while the card still raises it.
      try Self.expectSilence(of: vector)
      let resample: EventFD? = try EventFD()
      try vector.rearm(whenSignalled: resample)
      try resample?.signal()
      #expect(try vector.wait(until: Deadline(Self.patience)) == 1, "it was never acknowledged")
      causes.acknowledge()
      try resample?.signal()
      try Self.expectSilence(of: vector)
      causes.raise()
      #expect(try vector.wait(until: Deadline(Self.patience)) == 1)
      causes.acknowledge()
    }

    private static func expectSilence(of vector: borrowing InterruptVector) throws {
      let silent = #expect(throws: DriverError.self) {
        _ = try vector.wait(until: Deadline(.milliseconds(50)))
      }
      #expect(silent?.code == .timedOut)
    }

    /// 16 messages of MSI: each by itself, and none beyond those that were armed together.
    @Test(arguments: LabFunction.modes)
    func severalMessagesAreArmedTogether(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(ManyFunction.usb, mode)
      #expect(device.resources.vectorCount(of: .msi) == 16)
      #expect(device.interruptSource.facts(of: .msi)?.isExtensible == false)
      do {
        let vectors = try device.armInterrupts(.msi, count: 16)
        for index in 0..<16 {
          let vector = vectors.take(index)
          let empty = try vector.poll()
          try vector.trigger()
          let seen = try vector.poll()
          #expect(empty == 0 && seen == 1, "message \(index)")
        }
      }
      let vectors = try device.armInterrupts(.msi, vectors: 2..<6, except: [4])
      #expect(vectors.indices == [2, 3, 5])
      // Below the highest that is armed the kernel has interrupts already; above, MSI never gets more.
      try vectors.extend(by: 0..<1)
      try vectors.extend(by: 4..<5)
      try vectors.trigger(0..<6)
      let counts = try (vectors.take(0).poll(), vectors.take(4).poll(), vectors.take(5).poll())
      #expect(counts == (1, 1, 1))
      let refusal = #expect(throws: DriverError.self) { try vectors.extend(by: 6..<16) }
      #expect(refusal?.code == .unsupported)
      #expect(vectors.indices == [0, 2, 3, 4, 5])
    }
  }
}
