// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore
import IOMMUFD
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// One device's memory in another's address space: edu reads the controller memory buffer of the nvme.
  @Suite struct PeerToPeerTests {
    /// The two functions, and what edu reads: a page of the buffer.
    private struct Scene: ~Copyable {
      let peer: VFIODevice
      let device: VFIODevice
      let engine: EduEngine
      let landing: DMAMemory
      let space: IOAS

      init() throws { try self.init(LabFunction.open(LabFunction.nvme, .iommufd)) }

      init(_ peer: consuming VFIODevice) throws {
        let device = try LabFunction.open(LabFunction.edu, .iommufd)
        let somebody = device.addressSpace as? IOAS
        let space = try #require(somebody)
        let engine = EduEngine(try device.mapBAR(.bar0))
        let landing = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite, addressBits: 28)
        try device.setBusMaster(true)
        let buffer = try peer.mapBAR(.bar2)
        for word in 0..<16 { buffer.store(UInt32(0xc0de_0000) + UInt32(word), at: 8192 + 4 * word) }
        self.peer = peer
        self.device = device
        self.engine = engine
        self.landing = landing
        self.space = space
      }

      func export() throws(KernelError) -> DMABuf { try peer.exportDMABuf(of: .bar2, [8192..<12288]) }

      /// Lets edu copy the first 64 bytes at an address to our memory, by way of its own buffer.
      func firstWord(behind iova: IOVA) throws -> UInt32 {
        landing.store(UInt32(0), at: 0)
        try engine.load(from: iova, byteCount: 64)
        try engine.store(to: landing.iova, byteCount: 64)
        landing.syncForCPU()
        return landing.load(UInt32.self, at: 0, ordering: .acquiring)
      }
    }

    @Test func aMappingDiesWithARevocationAndIsMadeAnew() throws {
      let scene = try Scene()
      let mapping = try scene.space.map(scene.export(), addressBits: 28)
      #expect(try scene.firstWord(behind: mapping.iova) == 0xc0de_0000)
      try scene.peer.setMemoryDecode(false)
      #expect(try scene.firstWord(behind: mapping.iova) != 0xc0de_0000)
      let revoked = #expect(throws: KernelError.self) {
        _ = try scene.space.map(scene.export(), addressBits: 28)
      }
      #expect(revoked?.operation == "IOMMU_IOAS_MAP_FILE" && revoked?.errno == .operationNotSupportedByDevice)
      try scene.peer.setMemoryDecode(true)
      #expect(try scene.firstWord(behind: mapping.iova) != 0xc0de_0000, "it stays dead")
      let iova = mapping.iova
      try mapping.unmap()
      let again = try scene.space.map(scene.export(), at: iova, addressBits: 28)
      #expect(try scene.firstWord(behind: again.iova) == 0xc0de_0000)
    }

    @Test func aResetKillsAMappingToo() throws {
      let scene = try Scene()
      let mapping = try scene.space.map(scene.export(), addressBits: 28)
      #expect(try scene.firstWord(behind: mapping.iova) == 0xc0de_0000)
      try scene.peer.reset()
      #expect(try scene.firstWord(behind: mapping.iova) != 0xc0de_0000)
    }

    /// D3 by the power management capability, and by the kernel's own low power.
    @Test(arguments: [true, false])
    func sleepKillsAMapping(_ isLowPower: Bool) throws {
      let scene = try Scene()
      let mapping = try scene.space.map(scene.export(), addressBits: 28)
      #expect(try scene.firstWord(behind: mapping.iova) == 0xc0de_0000)
      if isLowPower {
        let sleep = try scene.peer.enterLowPower()
        #expect(try scene.firstWord(behind: mapping.iova) != 0xc0de_0000)
        try sleep.exit()
      } else {
        try scene.peer.setPowerState(3)
        #expect(try scene.firstWord(behind: mapping.iova) != 0xc0de_0000)
        try scene.peer.setPowerState(0)
      }
      #expect(try scene.firstWord(behind: mapping.iova) != 0xc0de_0000, "it stays dead")
      let iova = mapping.iova
      try mapping.unmap()
      let again = try scene.space.map(scene.export(), at: iova, addressBits: 28)
      #expect(try scene.firstWord(behind: again.iova) == 0xc0de_0000)
    }

    /// A device with plain memory for a BAR is plugged in, mapped for its peer, and pulled out.
    @Test func anUnpluggedDeviceTakesItsMappingAlong() throws {
      let monitor = try LabMonitor()
      let memory: [String: Any] = ["qom-type": "memory-backend-ram", "id": "shared", "size": 1 << 20]
      try monitor.command("object-add", memory)
      defer { _ = try? monitor.command("object-del", ["id": "shared"]) }
      let address = try HotSlot.plug("ivshmem-plain", on: monitor, ["memdev": "shared"])
      let scene = try Scene(LabFunction.open(address, .iommufd))
      let mapping = try scene.space.map(scene.export(), addressBits: 28)
      #expect(try scene.firstWord(behind: mapping.iova) == 0xc0de_0000)
      try monitor.unplug("hot")
      #expect(try scene.peer.events.wait(until: Deadline(.seconds(60))) == .removalRequested)
      try scene.peer.revoke()
      try HotSlot.requireUnplugged(address, on: monitor)
      #expect(try scene.firstWord(behind: mapping.iova) != 0xc0de_0000)
      try mapping.unmap()
    }

    @Test func oneRangeIsTaken() throws {
      let scene = try Scene()
      let two = try scene.peer.exportDMABuf(of: .bar2, [0..<4096, 8192..<12288])
      let error = #expect(throws: KernelError.self) { _ = try scene.space.map(two, addressBits: 28) }
      #expect(error?.operation == "IOMMU_IOAS_MAP_FILE", "\(error?.description ?? "")")
      let part = try scene.peer.exportDMABuf(of: .bar2, [0..<16384])
      let mapping = try scene.space.map(part, 8192..<12288, access: .read, addressBits: 28)
      #expect(try scene.firstWord(behind: mapping.iova) == 0xc0de_0000, "a part of one range is")
      let beyond = #expect(throws: KernelError.self) { _ = try scene.space.map(part, 16384..<20480) }
      #expect(beyond?.errno == .invalidArgument)
    }

    /// Addresses come back, and an IOAS that goes takes none with it.
    @Test func aMappingThatGoesGivesItsPlaceBack() throws {
      let scene = try Scene()
      let iova = IOVA(0x20_0000)
      for _ in 0..<3 {
        let mapping = try scene.space.map(scene.export(), at: iova)
        #expect(mapping.range == IOVARange(start: iova, last: IOVA(0x20_0fff)))
        let taken = #expect(throws: KernelError.self) { _ = try scene.space.map(scene.export(), at: iova) }
        #expect(taken?.errno == .fileExists)
      }
    }

    #if DEBUG
      @Test func everyCallMayFail() throws {
        let scene = try Scene()
        let swept = try faultSweep(concerning: { $0.contains("dmabuf") || $0.contains("[vfio") }) { plan in
          do {
            try FaultPlan.$current.withValue(plan) {
              // No place of our own: what could not be unmapped keeps the one that it has.
              let mapping = try scene.space.map(scene.export())
              try mapping.unmap()
              let delegation = try scene.peer.delegate(.bar0, [0..<4096])
              let pair = try LocalSocketPair()
              try delegation.grant().send(over: pair.near)
              _ = try RegisterGrant.receive(from: pair.far).window()
            }
          } catch let error as KernelError {
            #expect(error.errno == .ioError && plan.wasReached, "\(error)")
          }
        }
        #expect(swept >= 10, "\(swept) calls")
      }
    #endif
  }
}
