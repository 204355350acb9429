// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore
import EduDriver
import LinuxHandles
import PCIBus
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// The kernel's own driver cases (tools/testing/selftests/vfio, vfio_pci_driver_test), on edu: a copy goes
  /// through the device's buffer, so each is two transfers of 100 ms.
  @Suite struct AcceptanceDriverTests {
    @Test(arguments: LabFunction.modes)
    func initAndRemoveTenTimes(_ mode: VFIOMode) throws {
      var device = try LabFunction.open(LabFunction.edu, mode)
      for _ in 0..<10 {
        let driver = try EduDriver(device)
        let isAlive = driver.isAlive(0x1234_5678)
        #expect(isAlive)
        device = try driver.relinquish()
        #expect(try !device.configuration.isBusMasterEnabled)
      }
      try device.close()
    }

    @Test(arguments: LabFunction.modes)
    func aCopySucceedsWithoutInterrupt(_ mode: VFIOMode) throws {
      let stand = try DriverStand(mode)
      try stand.copyAndCompare(seed: 1)
      #expect(try stand.vector.poll() == 0)
    }

    /// The device does not notice that the IOMMU stopped it; it must neither hang nor interrupt.
    @Test(arguments: LabFunction.modes)
    func copiesFromAndToUnmappedAddressesHarmNobody(_ mode: VFIOMode) throws {
      let stand = try DriverStand(mode)
      let unmapped = try stand.unmappedAddress()
      stand.fill(seed: 2)
      try stand.copy(from: unmapped, to: stand.target.iova)
      try stand.copy(from: stand.source.iova, to: unmapped)
      #expect(try stand.vector.poll() == 0)
      #expect(stand.source.load(UInt8.self, at: 1) == DriverStand.byte(1, seed: 2), "the source is untouched")
    }

    @Test(arguments: LabFunction.modes)
    func anInterruptOfTheDeviceIsCountedOnce(_ mode: VFIOMode) throws {
      let stand = try DriverStand(mode)
      try stand.interruptOnce()
      #expect(try stand.vector.poll() == 0)
    }

    @Test(arguments: LabFunction.modes)
    func theDeviceRecoversFromEachBadCopy(_ mode: VFIOMode) throws {
      let stand = try DriverStand(mode)
      let unmapped = try stand.unmappedAddress()
      for round in 0..<10 {
        try stand.copyAndCompare(seed: UInt8(10 + round))
        if round.isMultiple(of: 2) {
          try stand.engine.load(from: unmapped, byteCount: DriverStand.byteCount)
        } else {
          try stand.engine.store(to: unmapped, byteCount: DriverStand.byteCount)
        }
        try stand.interruptOnce()
      }
    }

    /// The kernel's case fills 60 s of a fast engine; edu's needs 200 ms a copy, so the number is small.
    @Test(arguments: LabFunction.modes)
    func aStormOfCopiesSendsNoInterrupt(_ mode: VFIOMode) throws {
      let stand = try DriverStand(mode)
      for round in 0..<10 { try stand.copyAndCompare(seed: UInt8(30 + round)) }
      #expect(try stand.vector.poll() == 0)
    }
  }
}

/// edu with two pieces of memory and an armed vector: the fixture of the driver cases.
private struct DriverStand: ~Copyable {
  static let byteCount = 4096
  let source: DMAMemory
  let target: DMAMemory
  let vector: InterruptVector
  let engine: EduEngine
  private let device: VFIODevice

  init(_ mode: VFIOMode) throws {
    let device = try LabFunction.open(LabFunction.edu, mode)
    let source = try Self.memory(in: device.addressSpace)
    let target = try Self.memory(in: device.addressSpace)
    let engine = EduEngine(try device.mapBAR(.bar0))
    let vector = try device.armInterrupts(.msi, count: 1).take(0)
    try device.setBusMaster(true)
    self.source = source
    self.target = target
    self.engine = engine
    self.vector = vector
    self.device = device
  }

  private static func memory(in space: any AddressSpace) throws -> DMAMemory {
    try space.exposeToEdu(UnsharedMemory(byteCount: byteCount))
  }

  /// An address that was given back, so that nothing is there.
  borrowing func unmappedAddress() throws -> IOVA {
    let memory = try Self.memory(in: device.addressSpace)
    let iova = memory.iova
    _ = try memory.reclaim()
    return iova
  }

  static func byte(_ index: Int, seed: UInt8) -> UInt8 { UInt8(truncatingIfNeeded: index &* 7) &+ seed }

  borrowing func fill(seed: UInt8) {
    for index in 0..<Self.byteCount {
      source.store(Self.byte(index, seed: seed), at: index)
      target.store(UInt8(0), at: index)
    }
    source.syncForDevice()
    target.syncForDevice()
  }

  borrowing func copyAndCompare(seed: UInt8) throws {
    fill(seed: seed)
    try copy(from: source.iova, to: target.iova)
    target.syncForCPU()
    let wrong = (0..<Self.byteCount).filter {
      target.load(UInt8.self, at: $0) != Self.byte($0, seed: seed)
    }
    #expect(wrong.isEmpty, "\(wrong.count) bytes differ, the first at \(wrong.first ?? 0)")
  }

  borrowing func copy(from origin: IOVA, to destination: IOVA) throws {
    try engine.load(from: origin, byteCount: Self.byteCount)
    try engine.store(to: destination, byteCount: Self.byteCount)
  }

  /// Lets the device raise one interrupt, and expects exactly one.
  borrowing func interruptOnce() throws {
    engine.window.store(UInt32(4), at: 0x60)
    #expect(try vector.wait(until: Deadline(.seconds(10))) == 1)
    engine.window.store(UInt32(4), at: 0x64)
    _ = engine.window.load(UInt32.self, at: 0x24)
  }
}
