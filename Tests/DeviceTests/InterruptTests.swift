// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import DriverCore
import EduDriver
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  @Suite struct InterruptTests {
    @Test(arguments: LabFunction.modes)
    func everyVectorIsTriggeredByItself(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.igb, mode)
      let count = device.resources.vectorCount(of: .msix)
      #expect(count > 1)
      let vectors = try device.armInterrupts(.msix, count: count)
      let first = vectors.take(0)
      let last = vectors.take(count - 1)
      #expect(try first.poll() == 0)
      for _ in 0..<3 { try last.trigger() }
      #expect(try first.poll() == 0)
      #expect(try last.poll() == 3)
      #expect(try last.poll() == 0)
    }

    @Test func onlyWhatTheFunctionHasIsArmedAndOnlyOnce() throws {
      let device = try LabFunction.open(LabFunction.edu, .type1v2)
      let many = #expect(throws: KernelError.self) { _ = try device.armInterrupts(.msi, count: 2) }
      #expect(many?.errno == .invalidArgument && many?.remedy?.contains("has 1") == true)
      let none = #expect(throws: KernelError.self) { _ = try device.armInterrupts(.msi, count: 0) }
      #expect(none?.errno == .invalidArgument)
      do {
        let vectors = try device.armInterrupts(.intx, count: 1)
        let twice = #expect(throws: KernelError.self) { _ = try device.armInterrupts(.msi, count: 1) }
        #expect(twice?.errno == .resourceBusy)
        #expect(vectors.count == 1)
      }
      _ = try device.armInterrupts(.msi, count: 1)
    }

    /// The kernel masks INTx when it fires: without rearm() the second never comes, with it, it does.
    @Test(arguments: LabFunction.modes)
    func aLineIsMaskedUntilRearmed(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let window = try device.mapBAR(.bar0)
      let raise = Register32(byteOffset: 0x60, access: .writeOnly)
      let acknowledge = Register32(byteOffset: 0x64, access: .writeOnly)
      let vector = try device.armInterrupts(.intx, count: 1).take(0)
      window.write(1, to: raise)
      #expect(try vector.wait(until: Deadline(.seconds(2))) == 1)
      window.write(1, to: acknowledge)
      window.write(1, to: raise)
      let masked = #expect(throws: DriverError.self) {
        _ = try vector.wait(until: Deadline(.milliseconds(50)))
      }
      #expect(masked?.code == .timedOut)
      try vector.rearm()
      #expect(try vector.wait(until: Deadline(.seconds(2))) == 1, "the line is still raised")
      window.write(1, to: acknowledge)
    }

    @Test func eventsComeAsASequence() async throws {
      let device = try LabFunction.open(LabFunction.edu, LabFunction.anyMode)
      let reactor = try EventReactor()
      let vector = try device.armInterrupts(.msi, count: 1).take(0)
      let events = try vector.events(on: reactor)
      var total: UInt64 = 0
      for _ in 0..<100 { try vector.trigger() }
      for await count in events {
        total += count
        if total >= 100 { break }
      }
      #expect(total == 100)
    }

    @Test func aVectorThatWasClosedIsSilentAndCanBeArmedAgain() throws {
      let device = try LabFunction.open(LabFunction.nvme, LabFunction.anyMode)
      let vectors = try device.armInterrupts(.msix, count: 2)
      let kept = vectors.take(1)
      try vectors.take(0).close()
      try kept.trigger()
      #expect(try kept.poll() == 1)
    }
  }

  @Suite struct EduTests {
    @Test(arguments: LabFunction.modes, [InterruptKind.msi, .intx])
    func theDeviceDoesItsWork(_ mode: VFIOMode, by kind: InterruptKind) throws {
      let driver = try EduDriver(try LabFunction.open(LabFunction.edu, mode), patience: .seconds(5))
      #expect(driver.identification == 0x0100_00ed)
      #expect(driver.isAlive(0xdead_beef) && driver.isAlive(0))
      #expect(try driver.factorial(of: 10, by: kind) == 3_628_800)
      let sent = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ 7) }
      try unsafe driver.copyToDevice(sent.span.bytes, by: kind)
      var received = [UInt8](repeating: 0, count: 4096)
      do {
        var target = received.mutableSpan
        var bytes = unsafe target.mutableBytes
        try driver.copyFromDevice(into: &bytes, by: kind)
      }
      #expect(received == sent)
      #expect(try driver.raiseInterrupts(20, by: kind) == 20)
    }
  }
}
