// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DeviceSimulation
import DriverCore
import LinuxHandles
import SystemPackage
import Testing

/// The teeth of the simulated address space.
@Suite struct SimulatedAddressSpaceTests {
  private func page(
    in probe: borrowing Probe, _ access: DMAAccess, _ sharing: DMASharing = .streaming
  ) throws -> DMAMemory {
    try probe.space.expose(UnsharedMemory(byteCount: 4096), access: access, sharing: sharing)
  }

  @Test func withoutSyncForDeviceTheDeviceSeesZeros() throws {
    let probe = try Probe()
    let memory = try page(in: probe, .read)
    memory.store(UInt32(0xcafe), at: 16)
    #expect(probe.port.readWord(UInt32.self, at: memory.iova(at: 16)) == 0)
    memory.syncForDevice()
    #expect(probe.port.readWord(UInt32.self, at: memory.iova(at: 16)) == 0xcafe)
  }

  @Test func withoutSyncForCPUTheDriverSeesOldBytes() throws {
    let probe = try Probe()
    let memory = try page(in: probe, .write)
    memory.store(UInt32(7), at: 4092)
    #expect(probe.port.writeWord(UInt32(0xbeef), at: memory.iova(at: 4092)))
    let before = memory.load(UInt32.self, at: 4092)
    #expect(before == 7)
    memory.syncForCPU()
    let after = memory.load(UInt32.self, at: 4092)
    #expect(after == 0xbeef)
  }

  @Test func syncGoesOnlyTheWayThatTheAccessAllows() throws {
    let probe = try Probe()
    let readable = try page(in: probe, .read)
    readable.store(UInt64(1), at: 0)
    readable.syncForCPU()  // the device may not write: nothing comes back
    let kept = readable.load(UInt64.self, at: 0)
    #expect(kept == 1)
    let writable = try page(in: probe, .write)
    writable.store(UInt64(2), at: 0)
    writable.syncForDevice()  // the device may not read: nothing goes over
    writable.syncForCPU()
    let lost = writable.load(UInt64.self, at: 0)
    #expect(lost == 0)
  }

  @Test func coherentMemoryIsOneMemory() throws {
    let probe = try Probe()
    let memory = try page(in: probe, .readWrite, .coherent)
    memory.store(UInt16(0x1234), at: 6)
    #expect(probe.port.readWord(UInt16.self, at: memory.iova(at: 6)) == 0x1234)
    #expect(probe.port.writeWord(UInt16(0x4321), at: memory.iova(at: 6)))
    let seen = memory.load(UInt16.self, at: 6)
    #expect(seen == 0x4321)
  }

  @Test func oddPlacesAndLengthsAreCopiedWhole() throws {
    let probe = try Probe()
    let memory = try page(in: probe, .readWrite, .coherent)
    for (place, count) in [(0, 4096), (1, 7), (3, 4093), (4095, 1), (2, 31), (8, 16)] {
      let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 + place) }
      let isWritten = unsafe probe.port.writeMemory(bytes.span.bytes, at: memory.iova(at: place))
      #expect(isWritten)
      #expect(probe.port.readBytes(at: memory.iova(at: place), byteCount: count) == bytes)
    }
    #expect(probe.space.faults.isEmpty)
  }

  @Test func blockedTransfersAreKeptAndMoveNothing() throws {
    let probe = try Probe()
    let memory = try page(in: probe, .read)
    memory.store(UInt64(5), at: 4088)
    memory.syncForDevice()
    let (start, end) = (memory.iova, memory.iova(at: 4088))
    #expect(!probe.port.writeWord(UInt64(9), at: end))
    #expect(probe.port.readBytes(at: end, byteCount: 9) == nil)
    #expect(probe.port.readBytes(at: IOVA(0x5000_0000), byteCount: 4) == nil)
    #expect(probe.port.readBytes(at: IOVA(.max), byteCount: 4) == nil)
    try probe.function.setBusMaster(false)
    #expect(probe.port.readBytes(at: start, byteCount: 4) == nil)
    #expect(
      probe.space.takeFaults() == [
        DMAFault(iova: end, byteCount: 8, access: .write, reason: .notAllowed),
        DMAFault(iova: end, byteCount: 9, access: .read, reason: .pastTheEnd),
        DMAFault(iova: IOVA(0x5000_0000), byteCount: 4, access: .read, reason: .unmapped),
        DMAFault(iova: IOVA(.max), byteCount: 4, access: .read, reason: .unmapped),
        DMAFault(iova: start, byteCount: 4, access: .read, reason: .busMasterOff),
      ])
    #expect(probe.space.faults.isEmpty)
    try probe.function.setBusMaster(true)
    #expect(probe.port.readWord(UInt64.self, at: end) == 5)
  }

  @Test func afterReclaimTheAddressLeadsNowhere() throws {
    let probe = try Probe()
    let memory = try page(in: probe, .readWrite)
    let iova = memory.iova
    #expect(probe.space.mappedRanges == [IOVARange(start: iova, last: memory.iova(at: 4095))])
    _ = try memory.reclaim()
    #expect(probe.port.readBytes(at: iova, byteCount: 1) == nil)
    #expect(probe.space.mappedRanges.isEmpty)
  }

  @Test func neighboursAreTwoMappings() throws {
    let probe = try Probe()
    var all: [IOVARange] = []
    for index in [5, 2, 3, 4] {
      let iova = IOVA(UInt64(index) * 4096)
      let memory = try probe.space.expose(
        UnsharedMemory(byteCount: 4096), access: .read, sharing: .coherent, at: iova)
      memory.store(UInt8(index), at: 0)
      all.append(IOVARange(start: iova, last: memory.iova(at: 4095)))
      #expect(probe.port.readWord(UInt8.self, at: iova) == UInt8(index))
    }
    #expect(all.count == 4)
    #expect(probe.port.readBytes(at: IOVA(0x1fff), byteCount: 1) == nil)
  }

  @Test func theInterruptWindowIsNotHandedOut() throws {
    let space = SimulatedAddressSpace()
    for address: UInt64 in [0xfee0_0000, 0xfedf_f000 + 0x1000, 1 << 39] {
      let error = #expect(throws: KernelError.self) {
        _ = try space.expose(UnsharedMemory(byteCount: 4096), access: .read, at: IOVA(address))
      }
      #expect(error?.errno == .invalidArgument)
    }
    _ = try space.expose(UnsharedMemory(byteCount: 4096), access: .read, at: IOVA(0xfedf_f000))
    _ = try space.expose(UnsharedMemory(byteCount: 4096), access: .read, at: IOVA((1 << 39) - 4096))
  }

  /// A device that never stops while memory is mapped and unmapped under it: no crash, no race, and what it
  /// wrote to memory that is ours again stays outside.
  @Test func unmappingUnderABusyDeviceIsSafe() async throws {
    let probe = try Probe()
    let port = probe.port
    let iova = IOVA(0x10000)
    let device = Task.detached { [bytes = [UInt8](repeating: 0xff, count: 4096)] in
      var count = 0
      for _ in 0..<2000 {
        if unsafe port.writeMemory(bytes.span.bytes, at: iova) { count += 1 }
      }
      return count
    }
    for _ in 0..<200 {
      let memory = try probe.space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite, at: iova)
      memory.syncForCPU()
      var pages = try memory.reclaim()
      var bytes = pages.bytes
      bytes.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
      let seen = unsafe bytes.unsafeLoad(fromByteOffset: 8, as: UInt64.self)
      #expect(seen == 0)
    }
    let written = await device.value
    #expect(written + probe.space.takeFaults().count == 2000)
  }
}
