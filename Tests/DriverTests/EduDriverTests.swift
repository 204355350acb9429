// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceSimulation
import DriverCore
import EduDriver
import LinuxHandles
import PCIBus
import SystemPackage
import Testing

/// The driver of the edu device on the simulated one.
@Suite struct EduDriverTests {
  private func driver(
    _ misbehaviour: EduMisbehaviour = .none, patience: Duration = .seconds(60)
  ) throws -> EduDriver<SimulatedFunction> {
    try EduDriver(SimulatedFunction(EduModel(misbehaviour)), patience: patience)
  }

  @Test func identifiesAndAnswers() throws {
    let driver = try driver()
    #expect(driver.identification == 0x0100_00ed)
    let answers = [0x1234_5678, 0, .max].map { driver.isAlive($0) }
    #expect(answers == [true, true, true])
  }

  @Test(arguments: [InterruptKind.msi, .intx])
  func computesFactorials(by kind: InterruptKind) throws {
    let driver = try driver()
    // Several in a row: the line is armed, fires, is served and let go each time.
    for (n, product): (UInt32, UInt32) in [(0, 1), (1, 1), (5, 120), (12, 479_001_600), (13, 1_932_053_504)] {
      let seen = try driver.factorial(of: n, by: kind)
      #expect(seen == product)
    }
    let none = try driver.factorial(of: .max, by: kind)
    #expect(none == 0)
  }

  @Test(arguments: [InterruptKind?.none, .msi, .intx])
  func movesBytes(by kind: InterruptKind?) throws {
    let model = EduModel()
    let driver = try EduDriver(SimulatedFunction(model), patience: .seconds(60))
    let pattern = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    try unsafe driver.copyToDevice(pattern.span.bytes, at: 3096, by: kind)
    #expect(Array(model.buffer[3096...]) == pattern)
    var seen = [UInt8](repeating: 0, count: 500)
    var span = seen.mutableSpan
    var bytes = unsafe span.mutableBytes
    try driver.copyFromDevice(into: &bytes, at: 3596, by: kind)
    #expect(seen == Array(pattern[500...]))
  }

  @Test func refusesAnotherDevice() throws {
    let error = #expect(throws: DriverError.self) { _ = try driver(.wrongIdentification) }
    #expect(error?.code == .wrongDevice)
  }

  @Test func timesOutAndGoesOn() throws {
    let driver = try driver(.deafFactorial, patience: .milliseconds(20))
    for _ in 0..<2 {
      let error = #expect(throws: DriverError.self) { try driver.factorial(of: 3, by: .msi) }
      #expect(error?.code == .timedOut)
    }
    let isAlive = driver.isAlive(1)
    #expect(isAlive)
  }

  @Test func unmappedAddressIsBlockedAndTold() throws {
    let space = SimulatedAddressSpace()
    let driver = try EduDriver(SimulatedFunction(EduModel(), addressSpace: space), patience: .seconds(60))
    try driver.transferToUnmapped(IOVA(0x0dea_d000))
    #expect(
      space.takeFaults() == [
        DMAFault(iova: IOVA(0x0dea_d000), byteCount: 64, access: .write, reason: .unmapped)
      ])
  }

  @Test func countsEveryInterrupt() throws {
    let driver = try driver()
    for kind in [InterruptKind.msi, .intx] {
      let count = try driver.raiseInterrupts(100, by: kind)
      #expect(count == 100)
    }
  }

  @Test func givesTheFunctionBackWithoutBusMaster() throws {
    let space = SimulatedAddressSpace()
    let driver = try EduDriver(SimulatedFunction(EduModel(), addressSpace: space))
    #expect(space.mappedRanges.count == 1)
    let function = try driver.relinquish()
    #expect(space.mappedRanges.isEmpty)
    let command = try function.configuration.read(at: 4, width: .word)
    #expect(command & 4 == 0)
  }

  @Test func removalIsAnErrorOfItsOwn() throws {
    let function = try SimulatedFunction(EduModel())
    let slot = function.slot
    let driver = try EduDriver(function, patience: .seconds(60))
    slot.remove()
    let isAlive = driver.isAlive(7)
    #expect(!isAlive)
    let polled = #expect(throws: DriverError.self) { try driver.transferToUnmapped(IOVA(0x1000)) }
    #expect(polled?.code == .removed)
    let armed = #expect(throws: DriverError.self) { try driver.factorial(of: 3, by: .msi) }
    #expect(armed?.kernelError?.errno == .operationNotSupportedByDevice)
  }

  @Test func removalWhileWaitingEndsTheWait() throws {
    let function = try SimulatedFunction(EduModel(.stuckDMA))
    let slot = function.slot
    let driver = try EduDriver(function, patience: .seconds(60))
    let pull = try OwnedThread {
      _ = try? Deadline(.milliseconds(30)).poll("a moment") { false }
      slot.remove()
    }
    let error = #expect(throws: DriverError.self) { try driver.transferToUnmapped(IOVA(0x1000)) }
    #expect(error?.code == .removed)
    _ = consume pull
  }

  @Test func anAbsentDeviceIsRemoved() throws {
    let function = try SimulatedFunction(EduModel())
    function.remove()
    do throws(DriverError) {
      _ = try EduDriver(function)
      Issue.record("a driver for a device that is gone")
    } catch {
      #expect(error.kernelError?.errno == .operationNotSupportedByDevice)
    }
  }
}
