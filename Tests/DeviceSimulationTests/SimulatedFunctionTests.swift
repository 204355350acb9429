// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DeviceSimulation
import DriverCore
import LinuxHandles
import PCIBus
import Synchronization
import SystemPackage
import Testing

/// Configuration space, BARs, time, reset and removal of a simulated function.
@Suite struct SimulatedFunctionTests {
  private let register = Register64(byteOffset: 0, access: .readWrite)

  @Test func identityIsWhereItBelongs() throws {
    let probe = try Probe()
    let space = probe.function.configuration
    let words = try [0x00, 0x08, 0x2c].map { try space.read(at: $0, width: .doubleWord) }
    #expect(words == [0x1234_1af4, 0x0108_0203, 0x2222_1111])
    #expect(try space.read(at: 0x3d, width: .byte) == 1)
    #expect(space.byteCount == 256)
  }

  @Test func capabilitiesFormAList() throws {
    let probe = try Probe([
      .powerManagement, .msi(vectorCount: 8), .pciExpress,
      .msix(vectorCount: 64, tableBAR: 0, tableOffset: 0x800, pendingBAR: 2, pendingOffset: 0x1000),
    ])
    let space = probe.function.configuration
    #expect(space.byteCount == 4096)
    #expect(try space.read(at: 0x06, width: .word) & 0x10 != 0)
    var seen: [UInt32] = []
    var place = try Int(space.read(at: 0x34, width: .byte))
    while place != 0 {
      seen.append(try space.read(at: place, width: .byte))
      if seen.last == 0x05 { #expect(try space.read(at: place + 2, width: .word) == 0x0086) }
      if seen.last == 0x11 {
        #expect(try space.read(at: place + 2, width: .word) == 63)
        #expect(try space.read(at: place + 4, width: .doubleWord) == 0x800)
        #expect(try space.read(at: place + 8, width: .doubleWord) == 0x1002)
      }
      place = try Int(space.read(at: place + 1, width: .byte))
    }
    #expect(seen == [0x01, 0x05, 0x10, 0x11])
  }

  @Test func onlyWritableBitsChange() throws {
    let probe = try Probe()
    let space = probe.function.configuration
    for place in stride(from: 0, to: 0x40, by: 4) { try space.write(.max, at: place, width: .doubleWord) }
    let words = try stride(from: 0, to: 0x40, by: 4).map { try space.read(at: $0, width: .doubleWord) }
    #expect(
      words == [
        0x1234_1af4, 0x0010_0547, 0x0108_0203, 0x0000_00ff,  // identity, command, class, cache line
        0xffff_f000, 0, 0x0000_0004, 0xffff_fffe, 0xffff_ffe1, 0,  // the lengths of the BARs
        0, 0x2222_1111, 0, 0x0000_0040, 0, 0x0000_01ff,
      ])
  }

  @Test func placesOutsideAreRefused() throws {
    let space = try Probe().function.configuration
    for (place, width): (Int, ConfigurationWidth) in [
      (256, .byte), (254, .doubleWord), (1, .word), (-4, .byte),
    ] {
      let error = #expect(throws: KernelError.self) { try space.read(at: place, width: width) }
      #expect(error?.errno == .invalidArgument)
    }
  }

  @Test func resourcesAreTheModels() throws {
    let probe = try Probe()
    #expect(probe.function.resources.barByteCounts == [4096, 0, 1 << 33, 0, 32, 0])
    #expect(probe.function.resources.vectorCounts == [.intx: 1, .msi: 4])
    for bar in [PCIBAR.Index.bar1, .bar3, .bar5] {
      let error = #expect(throws: KernelError.self) { _ = try probe.function.mapBAR(bar) }
      #expect(error?.errno == .noSuchAddressOrDevice)
    }
  }

  @Test func registersReachTheModelWhileMemoryIsDecoded() throws {
    let probe = try Probe()
    let window = try probe.function.mapBAR(.bar0)
    window.write(0x1234_5678_9abc_def0, to: register)
    #expect(probe.model.register == 0x1234_5678_9abc_def0)
    let value = window.read(register)
    #expect(value == 0x1234_5678_9abc_def0)
    try probe.function.configuration.write(0, at: 4, width: .word)
    let off = window.read(register)
    let fault = window.takeFault()
    #expect(off == .max)
    #expect(fault?.errno == .ioError)
  }

  @Test func theVectorTableIsNotTheDrivers() throws {
    let probe = try Probe([
      .msix(vectorCount: 4, tableBAR: 0, tableOffset: 0x800, pendingBAR: 0, pendingOffset: 0xc00)
    ])
    let window = try probe.function.mapBAR(.bar0)
    window.store(UInt32(5), at: 0x800)
    #expect(probe.model.register == 0)
    let (inside, after) = (window.load(UInt32.self, at: 0x83c), window.load(UInt32.self, at: 0x840))
    #expect(inside == .max)
    #expect(after == 0)
    let vectors = try probe.function.armInterrupts(.msix, count: 4)
    probe.port.sendMessage(vector: 3)
    let count = try vectors.take(3).poll()
    #expect(count == 1)
  }

  @Test func manualTimeRunsWorkInOrder() throws {
    let probe = try Probe()
    let order = Mutex<[Int]>([])
    for (number, delay) in [(3, 30), (1, 10), (2, 10), (4, 40)] {
      probe.port.schedule(after: .milliseconds(delay)) { order.withLock { $0.append(number) } }
    }
    probe.function.clock.advance(by: .milliseconds(9))
    #expect(order.withLock { $0 } == [])
    probe.function.clock.advance(by: .milliseconds(21))
    #expect(order.withLock { $0 } == [1, 2, 3])
    #expect(probe.function.clock.pendingCount == 1)
  }

  @Test func aDelayedTransferMeetsWhatIsMappedThen() throws {
    let probe = try Probe()
    let memory = try probe.space.expose(UnsharedMemory(byteCount: 4096), access: .write)
    let (port, iova) = (probe.port, memory.iova)
    port.schedule(after: .seconds(1)) { _ = port.writeWord(UInt32(1), at: iova) }
    _ = try memory.reclaim()
    probe.function.clock.advance(by: .seconds(1))
    #expect(probe.space.faults.map(\.reason) == [.unmapped])
  }

  @Test func resetDropsWorkAndBusMaster() throws {
    let probe = try Probe()
    let window = try probe.function.mapBAR(.bar0)
    window.write(5, to: register)
    let runs = Mutex(0)
    probe.port.schedule(after: .seconds(1)) { runs.withLock { $0 += 1 } }
    try probe.function.reset()
    probe.function.clock.advance(by: .seconds(2))
    #expect(runs.withLock { $0 } == 0)
    #expect(probe.model.resetCount == 1)
    #expect(probe.model.register == 0)
    let command = try probe.function.configuration.read(at: 4, width: .word)
    #expect(command == 2)
  }

  @Test func removalReadsAsAllOnes() throws {
    let probe = try Probe()
    let window = try probe.function.mapBAR(.bar0)
    let memory = try probe.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    window.write(5, to: register)
    probe.function.remove()
    window.write(6, to: register)
    #expect(probe.model.register == 5)
    let (wide, narrow) = (window.read(register), window.load(UInt8.self, at: 0))
    #expect(wide == .max && narrow == .max)
    #expect(!probe.port.writeWord(UInt32(1), at: memory.iova))
    #expect(probe.port.readBytes(at: memory.iova, byteCount: 4) == nil)
    let configuration = probe.function.configuration
    #expect(try configuration.read(at: 0, width: .doubleWord) == .max)
    #expect(try configuration.read(at: 0, width: .byte) == 0xff)
    let reset = #expect(throws: KernelError.self) { try probe.function.reset() }
    #expect(reset?.errno == .operationNotSupportedByDevice)
    let enable = #expect(throws: KernelError.self) { try probe.function.setBusMaster(true) }
    #expect(enable?.errno == .operationNotSupportedByDevice)
  }

  @Test func aFunctionTakesItsModelAndThreadAlong() async throws {
    weak var model: EduModel?
    weak var clock: SimulatedClock?
    do {
      let (newModel, newClock) = (EduModel(), try SimulatedClock(.scaled(by: 1)))
      (model, clock) = (newModel, newClock)
      let function = try SimulatedFunction(newModel, clock: newClock)
      let window = try function.mapBAR(.bar0)
      window.store(UInt64(0x40000), at: 0x88)
      window.store(UInt64(1), at: 0x98)  // a transfer that is still pending when the function goes
      #expect(newClock.pendingCount == 1)
    }
    #expect(model == nil)
    #expect(clock == nil)
  }
}
