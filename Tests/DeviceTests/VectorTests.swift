// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import DriverCore
import EduDriver
import LinuxHandles
import PCIBus
import Synchronization
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  @Suite struct VectorTests {
    /// The kernel's own case: each vector reads as empty, is triggered, reads one; then all are disabled.
    @Test(arguments: [LabFunction.edu, LabFunction.nvme, LabFunction.igb], [InterruptKind.msi, .msix])
    func vectorsAreEnabledTriggeredAndDisabled(_ address: PCIAddress, _ kind: InterruptKind) throws {
      let device = try LabFunction.open(address, LabFunction.anyMode)
      let count = min(device.resources.vectorCount(of: kind), 16)
      #expect((count > 0) == (kind == .msi ? address != LabFunction.nvme : address != LabFunction.edu))
      guard count > 0 else { return }
      do {
        let vectors = try device.armInterrupts(kind, count: count)
        for index in 0..<count {
          let vector = vectors.take(index)
          let empty = try vector.poll()
          try vector.trigger()
          let seen = try vector.poll()
          #expect(empty == 0 && seen == 1)
        }
      }
      // Disabled: another kind can be armed, and the device can be closed.
      if address != LabFunction.nvme { _ = try device.armInterrupts(.intx, count: 1) }
      try device.close()
    }

    @Test(arguments: LabFunction.modes)
    func aMessageOfTheDeviceIsCountedOnce(_ mode: VFIOMode) throws {
      let driver = try EduDriver(try LabFunction.open(LabFunction.edu, mode), patience: .seconds(10))
      #expect(try driver.raiseInterrupts(1, by: .msi) == 1)
    }

    @Test(arguments: LabFunction.eachInterface)
    func vectorsHaveRangesHolesAndGrow(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.nvme, mode)
      // Linux 6.5 was the first whose vectors of MSI-X grow.
      let isExtensible = Lab.kernel != "stock-6.1"
      #expect(device.interruptSource.facts(of: .msix)?.isExtensible == isExtensible)
      let vectors = try device.armInterrupts(.msix, vectors: 3..<8, except: [5])
      #expect(vectors.indices == [3, 4, 6, 7])
      let three = vectors.take(3)
      let seven = vectors.take(7)
      try vectors.trigger(3..<8)
      try vectors.trigger([3, 5])
      let first = try (three.poll(), seven.poll())
      #expect(first == (2, 1))
      // Before the range, into a hole, and behind a gap.
      for added in [0..<1, 5..<6] { try vectors.extend(by: added) }
      guard isExtensible else {
        let refusal = #expect(throws: DriverError.self) { try vectors.extend(by: 20..<23) }
        #expect(refusal?.code == .unsupported && vectors.indices == [0, 3, 4, 5, 6, 7])
        return
      }
      try vectors.extend(by: 20..<23)
      #expect(vectors.indices == [0, 3, 4, 5, 6, 7, 20, 21, 22])
      let last = vectors.take(22)
      try vectors.trigger(0..<23)
      let second = try (
        three.poll(), seven.poll(), vectors.take(0).poll(), vectors.take(5).poll(), last.poll()
      )
      #expect(second == (1, 1, 1, 1, 1))
      try seven.close()
      try vectors.trigger(7..<8)
      try vectors.extend(by: 7..<8)
      let again = vectors.take(7)
      let lost = try again.poll()
      try again.trigger()
      let seen = try again.poll()
      #expect(lost == 0 && seen == 1)
    }

    @Test func messagesOfMSIAreArmedAsAWhole() throws {
      let device = try LabFunction.open(LabFunction.igb, LabFunction.anyMode)
      #expect(device.interruptSource.facts(of: .msi)?.isExtensible == false)
      let vectors = try device.armInterrupts(.msi, count: 1)
      let refusal = #expect(throws: DriverError.self) { try vectors.extend(by: 1..<2) }
      #expect(refusal?.code == .unsupported)
    }

    /// Interrupts counted before a reset stay counted, and vectors stay armed.
    @Test(arguments: [LabFunction.nvme, LabFunction.igb])
    func aResetLeavesVectorsArmed(_ address: PCIAddress) throws {
      let device = try LabFunction.open(address, LabFunction.anyMode)
      let vectors = try device.armInterrupts(.msix, vectors: 1..<4)
      let vector = vectors.take(2)
      try vector.trigger()
      try device.reset()
      try vector.trigger()
      let count = try vector.poll()
      #expect(count == 2)
    }

    // MARK: The line

    private static let raise = Register32(byteOffset: 0x60, access: .writeOnly)
    private static let acknowledge = Register32(byteOffset: 0x64, access: .writeOnly)

    @Test(arguments: LabFunction.modes)
    func aMaskedLineWaits(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let window = try device.mapBAR(.bar0)
      let vector = try device.armInterrupts(.intx, count: 1).take(0)
      try vector.trigger()
      let byHand = try vector.poll()
      #expect(byHand == 1, "triggered by software, and not masked by that")
      try vector.mask()
      window.write(1, to: Self.raise)
      let masked = #expect(throws: DriverError.self) {
        _ = try vector.wait(until: Deadline(.milliseconds(50)))
      }
      #expect(masked?.code == .timedOut)
      try vector.rearm()
      #expect(try vector.wait(until: Deadline(.seconds(10))) == 1)
      window.write(1, to: Self.acknowledge)
    }

    @Test(arguments: LabFunction.eachInterface)
    func anEventUnmasksTheLine(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let window = try device.mapBAR(.bar0)
      let vector = try device.armInterrupts(.intx, count: 1).take(0)
      let resample: EventFD? = try EventFD()
      try vector.rearm(whenSignalled: resample)
      for _ in 0..<5 {
        window.write(1, to: Self.raise)
        #expect(try vector.wait(until: Deadline(.seconds(10))) == 1)
        window.write(1, to: Self.acknowledge)
        _ = window.load(UInt32.self, at: 0)
        try resample?.signal()
      }
      let none: EventFD? = nil
      try vector.rearm(whenSignalled: none)
      window.write(1, to: Self.raise)
      let masked = try vector.wait(until: Deadline(.seconds(10)))
      #expect(masked == 1, "unmasked by the last signal")
      window.write(1, to: Self.acknowledge)
    }

    // MARK: Doorbells

    @Test(arguments: LabFunction.eachInterface)
    func theKernelWritesARegisterForASignal(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let window = try device.mapBAR(.bar0)
      let liveness = Register32(byteOffset: 4, access: .readWrite)
      window.write(0, to: liveness)
      do {
        let doorbell = try device.makeDoorbell(at: liveness, in: .bar0, writing: 0x1234_5678)
        let twice = #expect(throws: KernelError.self) {
          _ = try device.makeDoorbell(at: liveness, in: .bar0, writing: 0x1234_5678)
        }
        #expect(twice?.errno == .fileExists)
        let other = try device.makeDoorbell(at: liveness, in: .bar0, writing: 1)
        try other.ring()
        try Deadline(.seconds(10)).poll("the write of 1") { window.read(liveness) == ~1 }
        try doorbell.ring()
        try Deadline(.seconds(10)).poll("the write") { window.read(liveness) == ~0x1234_5678 }
        try other.close()
      }
      // The dropped one is gone as well: there is room for the same again.
      try device.makeDoorbell(at: liveness, in: .bar0, writing: 0x1234_5678).close()
      let outside = #expect(throws: KernelError.self) {
        _ = try device.makeDoorbell(
          at: Register32(byteOffset: 1 << 20, access: .writeOnly), in: .bar0, writing: 0)
      }
      #expect(outside?.errno == .invalidArgument)
    }
  }
}
