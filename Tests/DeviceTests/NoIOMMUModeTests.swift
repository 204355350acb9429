// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore
import EduDriver
import Foundation
import IOMMUFD
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension NoIOMMUTests {
  /// A function that a driver has without an IOMMU, because it was asked for by name.
  @Suite struct NoIOMMUModeTests {
    private static let switchPath = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"

    private static func turn(_ word: String) throws {
      try word.write(toFile: switchPath, atomically: false, encoding: .utf8)
    }

    /// Runs a body with edu bound while the kernel's mode is on, and leaves all as it was.
    private func withEdu(_ body: () throws -> Void) throws {
      try Self.turn("Y")
      defer { try? Self.turn("N") }
      try DriverBinding().bind([LabFunction.edu])
      defer { _ = try? DriverBinding().restore([LabFunction.edu]) }
      try body()
    }

    @Test(arguments: VFIOMode.withoutIOMMU)
    func theSwitchMustBeOn(_ mode: VFIOMode) throws {
      let error = #expect(throws: KernelError.self) { _ = try VFIODevice.open(LabFunction.edu, mode: mode) }
      #expect(error?.errno == .notPermitted)
      #expect(error?.remedy?.contains("echo Y > \(Self.switchPath)") == true, "\(error as Any)")
      let container = #expect(throws: KernelError.self) { _ = try VFIOContainer(mode: .noIOMMU) }
      #expect(container?.remedy?.contains("echo Y") == true)
    }

    @Test func itIsNeverChosen() throws {
      try withEdu {
        let function = try PCIBus().function(at: LabFunction.edu)
        #expect(function.vfioDeviceName == nil && function.noIOMMUDeviceName != nil)
        #expect(function.iommuGroup != nil)
        #expect(!VFIODevice.preferredMode(for: function).isWithoutIOMMU)
        for mode in LabFunction.modes.map(Optional.some) + [nil] {
          let error = #expect(throws: KernelError.self) {
            _ = try VFIODevice.open(LabFunction.edu, mode: mode)
          }
          #expect(error?.remedy?.contains("--mode noiommu") == true, "\(mode as Any): \(error as Any)")
        }
      }
    }

    @Test(arguments: VFIOMode.withoutIOMMU)
    func itTakesThePrivilege(_ mode: VFIOMode) throws {
      try withEdu {
        try CapabilityFixture.without(.rawIO) {
          let error = #expect(throws: KernelError.self) {
            _ = try VFIODevice.open(LabFunction.edu, mode: mode)
          }
          #expect(error?.errno == .notPermitted && error?.remedy?.contains("CAP_SYS_RAWIO") == true)
        }
        // Who opens the container is who may see addresses; who asks an IOAS is.
        let capability = mode.usesGroup ? CapabilityFixture.Capability.systemAdministration : .rawIO
        let early = mode.usesGroup ? nil : try VFIOHolder(VFIODevice.open(LabFunction.edu, mode: mode))
        try CapabilityFixture.without(capability) {
          let holder = try early ?? VFIOHolder(VFIODevice.open(LabFunction.edu, mode: mode))
          let error = #expect(throws: KernelError.self) {
            _ = try holder.device.addressSpace.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
          }
          #expect(error?.errno == .notPermitted && error?.remedy?.contains("CAP_SYS") == true)
        }
      }
    }

    /// A device that can be optional.
    private final class VFIOHolder {
      let device: VFIODevice
      init(_ device: consuming VFIODevice) { self.device = device }
    }

    @Test(arguments: VFIOMode.withoutIOMMU)
    func theDeviceIsGivenPhysicalAddresses(_ mode: VFIOMode) throws {
      try withEdu {
        let device = try VFIODevice.open(LabFunction.edu, mode: mode)
        #expect(device.mode == mode)
        let space = device.addressSpace
        var memory = try UnsharedMemory(byteCount: 4096)
        do {
          var bytes = memory.bytes
          for index in 0..<64 { bytes.storeBytes(of: UInt8(index), toByteOffset: index, as: UInt8.self) }
        }
        let source = try space.expose(memory, access: .readWrite)
        let target = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
        #expect(
          try source.physicalRuns().map(\.start.rawValue) == [source.iova.rawValue], "as pagemap has it")
        #expect(try target.physicalRuns().map(\.start.rawValue) == [target.iova.rawValue])
        try device.setBusMaster(true)
        let engine = EduEngine(try device.mapBAR(.bar0))
        try engine.load(from: source.iova, byteCount: 64)
        try engine.store(to: target.iova(at: 128), byteCount: 64)
        try device.setBusMaster(false)
        for index in 0..<64 { #expect(target.load(UInt8.self, at: 128 + index) == UInt8(index)) }
        #expect(target.load(UInt8.self, at: 127) == 0)
        _ = try source.reclaim()
        _ = try target.reclaim()
        #expect(space.reservations.parkedByteCount == 0)
      }
    }

    /// The very driver that runs behind an IOMMU.
    @Test(arguments: VFIOMode.withoutIOMMU)
    func theDriverDoesItsWork(_ mode: VFIOMode) throws {
      try withEdu {
        let driver = try EduDriver(
          try VFIODevice.open(LabFunction.edu, mode: mode), patience: .seconds(5), addressBits: 64)
        let sent = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        try unsafe driver.copyToDevice(sent.span.bytes, by: .msi)
        var received = [UInt8](repeating: 0, count: 4096)
        do {
          var span = received.mutableSpan
          var bytes = unsafe span.mutableBytes
          try driver.copyFromDevice(into: &bytes, by: .intx)
        }
        #expect(received == sent)
        #expect(try driver.factorial(of: 5, by: .msi) == 120)
      }
    }

    @Test(arguments: VFIOMode.withoutIOMMU)
    func memoryInPiecesIsRefusedAndHugePagesAreNot(_ mode: VFIOMode) throws {
      let pages = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
      try "2".write(toFile: pages, atomically: false, encoding: .utf8)
      defer { try? "0".write(toFile: pages, atomically: false, encoding: .utf8) }
      try withEdu {
        let device = try VFIODevice.open(LabFunction.edu, mode: mode)
        let space = device.addressSpace
        // Two memories that take pages in turns lie in pieces.
        var memory = try UnsharedMemory(byteCount: 1 << 20)
        var other = try UnsharedMemory(byteCount: 1 << 20)
        do {
          var bytes = memory.bytes
          var others = other.bytes
          for offset in stride(from: 0, to: 1 << 20, by: 4096) {
            bytes.storeBytes(of: 1, toByteOffset: offset, as: UInt8.self)
            others.storeBytes(of: 1, toByteOffset: offset, as: UInt8.self)
          }
        }
        var error: KernelError?
        do throws(KernelError) {
          _ = try space.expose(memory, access: .readWrite)
        } catch let refusal { error = refusal }
        #expect(error?.errno == .invalidArgument && error?.remedy?.contains("huge pages") == true)
        _ = consume other
        let locked = try MemoryLockLimit.current().locked
        #expect(locked == 0, "\(locked) bytes stay locked")
        let huge = try space.expose(
          UnsharedMemory(byteCount: 2 << 20, pageSize: .huge2MiB), access: .readWrite)
        #expect(huge.iova.rawValue % (2 << 20) == 0)
        let runs = try huge.physicalRuns()
        #expect(runs == [PhysicalRun(start: PhysicalAddress(huge.iova.rawValue), byteCount: 2 << 20)])
        let low = #expect(throws: KernelError.self) {
          _ = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite, addressBits: 20)
        }
        #expect(
          low?.errno == .invalidArgument && low?.remedy?.contains("20 address bits") == true, "\(low as Any)")
        _ = try huge.reclaim()
      }
    }

    /// Handed to another process, here this one: who may not learn physical addresses exposes nothing.
    @Test(arguments: VFIOMode.withoutIOMMU)
    func theDeviceIsHandedOver(_ mode: VFIOMode) throws {
      try withEdu {
        let opened = try VFIODevice.open(LabFunction.edu, mode: mode)
        let pair = try LocalSocketPair()
        for _ in 0..<2 { try opened.share(over: pair.near) }
        try CapabilityFixture.without(mode.usesGroup ? .systemAdministration : .rawIO) {
          let error = #expect(throws: KernelError.self) {
            let adopted = try VFIODevice.receive(from: pair.far)
            _ = try adopted.addressSpace.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
          }
          #expect(
            error?.errno == .notPermitted && error?.remedy?.contains("CAP_SYS") == true, "\(error as Any)")
        }
        let adopted = try VFIODevice.receive(from: pair.far)
        #expect(adopted.mode == mode && adopted.address == opened.address)
        let driver = try EduDriver(adopted, patience: .seconds(5), addressBits: 64)
        let sent = (0..<64).map { UInt8($0) ^ 0x5a }
        try unsafe driver.copyToDevice(sent.span.bytes)
        var received = [UInt8](repeating: 0, count: 64)
        do {
          var span = received.mutableSpan
          var bytes = unsafe span.mutableBytes
          try driver.copyFromDevice(into: &bytes)
        }
        #expect(received == sent)
      }
    }

    /// Without interrupt remapping a function gets one message of MSI; the kernel's answer to more is no error.
    @Test(arguments: VFIOMode.withoutIOMMU)
    func severalMessagesTakeInterruptRemapping(_ mode: VFIOMode) throws {
      try Self.turn("Y")
      defer { try? Self.turn("N") }
      let monitor = try LabMonitor()
      try HotSlot.withDevice("nec-usb-xhci", on: monitor) { address in
        try DriverBinding().bind([address])
        defer { _ = try? DriverBinding().restore([address]) }
        let device = try VFIODevice.open(address, mode: mode)
        #expect(device.resources.vectorCount(of: .msi) == 16)
        let refused = #expect(throws: KernelError.self) { _ = try device.armInterrupts(.msi, count: 16) }
        #expect(
          refused?.errno == .noSpace
            && refused?.remedy?.contains("asked for 16 vectors, the machine has 1") == true,
          "\(refused as Any)")
        let vector = try device.armInterrupts(.msi, count: 1).take(0)
        try vector.trigger()
        #expect(try vector.poll() == 1)
      }
    }

    @Test func anIOASListsItsPieces() throws {
      try withEdu {
        let device = try VFIODevice.open(LabFunction.edu, mode: .noIOMMUDevice)
        let space = device.addressSpace
        let ioas = try #require(space as? NoIOMMUSpace).ioas
        let memory = try ioas.expose(UnsharedMemory(byteCount: 1 << 20), access: .readWrite)
        let range = IOVARange(start: memory.iova, last: memory.iova.advanced(byByteCount: (1 << 20) - 1))
        let runs = try ioas.physicalRuns(of: range)
        #expect(runs == (try memory.physicalRuns()))
        #expect(runs.reduce(0) { $0 + $1.byteCount } == 1 << 20)
        let missing = #expect(throws: KernelError.self) {
          _ = try ioas.physicalRuns(of: IOVARange(start: IOVA(1 << 40), last: IOVA((1 << 40) + 4095)))
        }
        #expect(missing?.errno == .noSuchFileOrDirectory)
      }
    }

    @Test(arguments: VFIOMode.withoutIOMMU.filter(\.usesGroup))
    func whatTakesAnIOMMUNamesTheMode(_ mode: VFIOMode) throws {
      try withEdu {
        let device = try VFIODevice.open(LabFunction.edu, mode: mode)
        let space = device.addressSpace
        let container = try #require(space as? VFIOContainer)
        #expect(try container.offers(.noIOMMU) && !container.offers(.type1v2))
        let window = try device.mapBAR(.bar0)
        let range = IOVARange(start: IOVA(0x1000), last: IOVA(0x1fff))
        let errors = [
          #expect(throws: KernelError.self) { _ = try container.info() },
          #expect(throws: KernelError.self) { _ = try container.trackDirtyPages() },
          #expect(throws: KernelError.self) { _ = try container.suspendMapping(range) },
        ]
        for error in errors {
          #expect(error?.errno == .notSupported && error?.remedy?.contains("mode \(mode.rawValue) ") == true)
        }
        var peer: KernelError?
        do throws(KernelError) { _ = try container.map(window) } catch { peer = error }
        #expect(peer?.errno == .notSupported && peer?.remedy?.contains("mode \(mode.rawValue) ") == true)
      }
    }

    #if DEBUG
      @Test(arguments: VFIOMode.withoutIOMMU)
      func everyCallMayFail(_ mode: VFIOMode) throws {
        try withEdu {
          let swept = try faultSweep(.ioError, concerning: concerns) { plan in
            do {
              try FaultPlan.$current.withValue(plan) {
                let device = try VFIODevice.open(LabFunction.edu, mode: mode)
                let memory = try device.addressSpace.expose(
                  UnsharedMemory(byteCount: 4096), access: .readWrite)
                _ = try memory.reclaim()
                try device.close()
              }
            } catch let error as KernelError {
              #expect(error.errno == .ioError && plan.wasReached, "\(error)")
            }
          }
          #expect(swept > 20, "\(swept) calls")
          #expect(try MemoryLockLimit.current().locked == 0)
          try VFIODevice.open(LabFunction.edu, mode: mode).close()
        }
      }

      private func concerns(_ path: String) -> Bool { concernsVFIO(path) || path.hasSuffix("/pagemap") }
    #endif
  }
}
