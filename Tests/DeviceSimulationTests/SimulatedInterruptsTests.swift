// SPDX-License-Identifier: Apache-2.0
import DeviceSimulation
import DriverCore
import LinuxHandles
import PCIBus
import SystemPackage
import Testing

/// Interrupts as the kernel delivers them.
@Suite struct SimulatedInterruptsTests {
  @Test func aLineIsMaskedWhenItFires() throws {
    let probe = try Probe()
    let vector = try probe.function.armInterrupts(.intx, count: 1).take(0)
    probe.port.setInterruptLine(true)
    probe.port.setInterruptLine(true)
    let first = try vector.poll()
    #expect(first == 1)
    // Still raised: it comes again as soon as it is unmasked, and only once.
    try vector.rearm()
    let second = try vector.poll()
    #expect(second == 1)
    probe.port.setInterruptLine(false)
    try vector.rearm()
    let third = try vector.poll()
    #expect(third == 0)
    probe.port.setInterruptLine(true)
    let fourth = try vector.poll()
    #expect(fourth == 1)
  }

  @Test func aMaskedLineWaits() throws {
    let probe = try Probe()
    let vector = try probe.function.armInterrupts(.intx, count: 1).take(0)
    try vector.mask()
    probe.port.setInterruptLine(true)
    let masked = try vector.poll()
    #expect(masked == 0)
    try vector.rearm()
    let unmasked = try vector.poll()
    #expect(unmasked == 1)
  }

  @Test func aLineRaisedBeforeArmingFiresAtOnce() throws {
    let probe = try Probe()
    probe.port.setInterruptLine(true)
    let vector = try probe.function.armInterrupts(.intx, count: 1).take(0)
    let count = try vector.poll()
    #expect(count == 1)
  }

  @Test func theCommandRegisterKeepsAFunctionOffItsLine() throws {
    let probe = try Probe()
    let vector = try probe.function.armInterrupts(.intx, count: 1).take(0)
    let command = try probe.function.configuration.read(at: 4, width: .word)
    try probe.function.configuration.write(command | 1 << 10, at: 4, width: .word)
    probe.port.setInterruptLine(true)
    let off = try vector.poll()
    #expect(off == 0)
    try probe.function.configuration.write(command, at: 4, width: .word)
    let on = try vector.poll()
    #expect(on == 1)
  }

  @Test func messagesNeedAnArmedVectorAndBusMaster() throws {
    let probe = try Probe()
    #expect(probe.port.enabledMessages == nil)
    probe.port.sendMessage(vector: 1)  // nothing is armed: lost
    do {
      let vectors = try probe.function.armInterrupts(.msi, count: 2)
      let zero = vectors.take(0)
      let one = vectors.take(1)
      #expect(probe.port.enabledMessages == .msi)
      for _ in 0..<3 { probe.port.sendMessage(vector: 1) }
      probe.port.sendMessage(vector: 2)  // not armed: lost
      let counts = try (zero.poll(), one.poll())
      #expect(counts == (0, 3))
      try probe.function.setBusMaster(false)
      probe.port.sendMessage(vector: 0)
      let blocked = try zero.poll()
      #expect(blocked == 0)
      try probe.function.setBusMaster(true)
      try one.close()
      probe.port.sendMessage(vector: 1)  // detached: lost
      probe.port.sendMessage(vector: 0)
      let count = try zero.poll()
      #expect(count == 1)
    }
    #expect(probe.port.enabledMessages == nil)
  }

  @Test func refusalsAreTheKernels() throws {
    let probe = try Probe()
    let tooMany = #expect(throws: KernelError.self) { _ = try probe.function.armInterrupts(.msi, count: 5) }
    #expect(tooMany?.errno == .invalidArgument)
    let missing = #expect(throws: KernelError.self) { _ = try probe.function.armInterrupts(.msix, count: 1) }
    #expect(missing?.errno == .invalidArgument)
    let vector = try probe.function.armInterrupts(.msi, count: 1).take(0)
    let twice = #expect(throws: KernelError.self) { _ = try probe.function.armInterrupts(.intx, count: 1) }
    #expect(twice?.errno == .resourceBusy)
    do throws(KernelError) {
      try vector.mask()
      Issue.record("a message was masked")
    } catch {
      #expect(error.errno == .inappropriateIOCTLForDevice)
    }
  }

  @Test func armedVectorsSurviveAReset() throws {
    let probe = try Probe()
    let vector = try probe.function.armInterrupts(.msi, count: 1).take(0)
    probe.port.sendMessage(vector: 0)
    try probe.function.reset()
    probe.port.sendMessage(vector: 0)  // bus master is off: lost
    try probe.function.setBusMaster(true)
    probe.port.sendMessage(vector: 0)
    let count = try vector.poll()
    #expect(count == 2)
  }

  @Test func aLineIsLowAndUnmaskedAfterAReset() throws {
    let probe = try Probe()
    let vector = try probe.function.armInterrupts(.intx, count: 1).take(0)
    probe.port.setInterruptLine(true)
    try probe.function.reset()
    let first = try vector.poll()
    #expect(first == 1)
    probe.port.setInterruptLine(true)
    let second = try vector.poll()
    #expect(second == 1)
  }

  @Test func removalStopsInterrupts() throws {
    let probe = try Probe()
    let vector = try probe.function.armInterrupts(.intx, count: 1).take(0)
    probe.function.remove()
    probe.port.setInterruptLine(true)
    let gone = #expect(throws: DriverError.self) { _ = try vector.poll() }
    #expect(gone?.code == .removed)
    let error = #expect(throws: KernelError.self) { _ = try probe.function.armInterrupts(.msi, count: 1) }
    #expect(error?.errno == .operationNotSupportedByDevice)
  }

  @Test func aVectorKeepsTheDeviceAlive() throws {
    let model = ProbeModel()
    let vector: InterruptVector
    do {
      let function = try SimulatedFunction(model)
      vector = try function.armInterrupts(.intx, count: 1).take(0)
    }
    model.port.setInterruptLine(true)
    let count = try vector.wait(until: Deadline(.seconds(60)))
    #expect(count == 1)
  }
}
