// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  @Suite struct FeatureTests {
    /// What vfio-pci has on this kernel, and on a physical function besides.
    private static let plain: [VFIODeviceFeature: VFIODeviceFeatureMethods] = {
      var features: [VFIODeviceFeature: VFIODeviceFeatureMethods] = [
        .lowPowerEntry: .set, .lowPowerEntryWithWakeup: .set, .lowPowerExit: .set,
      ]
      if DelegationTests.exports { features[.dmaBuf] = .get }
      return features
    }()

    @Test(arguments: LabFunction.modes, [LabFunction.edu, LabFunction.igb])
    func probingTellsWhatThereIs(_ mode: VFIOMode, _ address: PCIAddress) throws {
      let device = try LabFunction.open(address, mode)
      var expected = Self.plain
      if address == LabFunction.igb { expected[.vfToken] = .set }
      #expect(try device.features() == expected)
      #expect(try device.probe(VFIODeviceFeature(rawValue: 0xffff)).isEmpty)
      for feature in VFIODeviceFeature.known {
        #expect(try device.probe(feature) == expected[feature] ?? [], "\(feature)")
      }
    }

    /// No PCI function of QEMU migrates or logs its DMA: the calls say so.
    @Test(arguments: LabFunction.modes)
    func whatADeviceLacksIsSaid(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.nvme, mode)
      func refusal(_ body: () throws -> Void) -> KernelError? {
        #expect(throws: KernelError.self, performing: body)
      }
      #expect(try device.migration.methods() == nil)
      let range = IOVARange(start: IOVA(0), last: IOVA(0xffff))
      let refusals = [
        refusal { _ = try device.migration.state() },
        refusal { _ = try device.migration.setState(.stopped) },
        refusal { _ = try device.migration.dataByteCount() },
        refusal { _ = try device.migration.startDMALog(of: [range]) },
      ]
      #expect(refusals.allSatisfy { $0?.errno == .inappropriateIOCTLForDevice }, "\(refusals)")
      #expect(refusals.allSatisfy { $0?.remedy?.contains("has no") == true }, "\(refusals)")
      let precopy = refusal { try device.migration.useRestartingPrecopyInfo() }
      // Older kernels know no such feature.
      #expect(precopy?.errno == (DelegationTests.exports ? .invalidArgument : .inappropriateIOCTLForDevice))
    }

    /// A mediated device of the kernel's own sample (mtty), which migrates: out of one, into another.
    @Test(arguments: LabFunction.modes.filter(\.usesGroup))
    func aMediatedDeviceMigrates(_ mode: VFIOMode) throws {
      let source = try MediatedDevice("83b8f4f2-509f-382f-3c1e-e6bfe0fa1001")
      let target = try MediatedDevice("83b8f4f2-509f-382f-3c1e-e6bfe0fa1002")
      let out = try source.open(mode)
      #expect(try out.methods() == [.stopCopy, .withoutPeers, .preCopy])
      #expect(try out.state() == .running)
      try out.useRestartingPrecopyInfo()
      let early = try Self.stream(of: out, in: .preCopy)
      let numbers = try early.precopyInfo()
      #expect(numbers.initialByteCount > 0 && !numbers.isRestarted)
      #expect(try Self.contents(of: early).count == Int(numbers.initialByteCount + numbers.dirtyByteCount))
      #expect(try early.precopyInfo().initialByteCount == 0)
      let estimate = try out.dataByteCount()
      #expect(estimate > 0)
      // From pre-copy to stop-copy the stream goes on.
      #expect(try !Self.hasStream(out, in: .stopCopy))
      #expect(try out.state() == .stopCopy)
      let ended = #expect(throws: KernelError.self) { _ = try early.precopyInfo() }
      #expect(ended?.operation == "VFIO_MIG_GET_PRECOPY_INFO" && ended?.errno == .invalidArgument)
      try early.close()
      #expect(try !Self.hasStream(out, in: .stopped))
      let whole = try Self.stream(of: out, in: .stopCopy)
      let bytes = try Self.contents(of: whole)
      try whole.close()
      #expect(UInt64(bytes.count) == estimate, "\(bytes.count) of \(estimate)")
      let into = try target.open(mode)
      let stream = try Self.stream(of: into, in: .resuming)
      let written = unsafe try bytes.withUnsafeBytes { unsafe try stream.write(RawSpan(_unsafeBytes: $0)) }
      #expect(written == bytes.count)
      #expect(try !Self.hasStream(into, in: .running))
      #expect(try into.state() == .running)
      try stream.close()
      let range = IOVARange(start: IOVA(0x10_0000), last: IOVA(0x17_ffff))
      let log = try into.startDMALog(of: [range])
      let pages = try log.report(of: range)
      #expect(log.pageByteCount == 4096 && pages.range == range && pages.dirtyPageCount == 0)
      let odd = #expect(throws: KernelError.self) { _ = try log.report(of: range, pageByteCount: 512) }
      #expect(odd?.errno == .invalidArgument)
      try log.stop()
      let overlapping = #expect(throws: KernelError.self) { _ = try into.startDMALog(of: [range, range]) }
      #expect(overlapping?.errno == .invalidArgument)
      let wrong = #expect(throws: KernelError.self) {
        _ = try into.setState(VFIOMigrationState(rawValue: 99))
      }
      #expect(wrong?.errno == .invalidArgument)
    }

    private static func stream(
      of device: VFIOMigration, in state: VFIOMigrationState
    ) throws -> VFIOMigrationStream {
      guard let stream = try device.setState(state) else { throw NoStream() }
      return stream
    }

    private struct NoStream: Error {}

    private static func hasStream(_ device: VFIOMigration, in state: VFIOMigrationState) throws -> Bool {
      do {
        _ = try stream(of: device, in: state)
        return true
      } catch is NoStream {
        return false
      }
    }

    private static func contents(of stream: borrowing VFIOMigrationStream) throws -> [UInt8] {
      var bytes: [UInt8] = []
      var chunk = [UInt8](repeating: 0, count: 100)
      while true {
        var span = chunk.mutableSpan
        var raw = unsafe span.mutableBytes
        let count = try stream.read(into: &raw)
        if count == 0 { return bytes }
        bytes += chunk[..<count]
      }
    }

    #if DEBUG
      @Test func everyCallMayFail() throws {
        let swept = try faultSweep(.ioError, concerning: concernsMigration) { plan in
          // New ones each time: a device stays in the state in which a failure left it.
          let source = try MediatedDevice("83b8f4f2-509f-382f-3c1e-e6bfe0fa1003")
          let target = try MediatedDevice("83b8f4f2-509f-382f-3c1e-e6bfe0fa1004")
          do {
            try FaultPlan.$current.withValue(plan) {
              let out = try source.open(.type1v2)
              _ = try out.methods()
              let stream = try Self.stream(of: out, in: .stopCopy)
              let bytes = try Self.contents(of: stream)
              try stream.close()
              let into = try target.open(.type1v2)
              let back = try Self.stream(of: into, in: .resuming)
              _ = unsafe try bytes.withUnsafeBytes { unsafe try back.write(RawSpan(_unsafeBytes: $0)) }
              try back.close()
              _ = try into.setState(.running)
              _ = try into.dataByteCount()
              let log = try into.startDMALog(of: [IOVARange(start: IOVA(0), last: IOVA(0xffff))])
              _ = try log.report(of: IOVARange(start: IOVA(0), last: IOVA(0xffff)))
              try log.stop()
            }
          } catch let error as KernelError {
            #expect(error.errno == .ioError && plan.wasReached, "\(error)")
          }
        }
        #expect(swept > 20, "\(swept) calls")
        let device = try LabFunction.open(LabFunction.igb, .iommufd)
        let probes = try faultSweep(.ioError, concerning: concernsVFIO) { plan in
          do {
            try FaultPlan.$current.withValue(plan) {
              _ = try device.features()
              try device.setVFToken(VFToken())
            }
          } catch let error as KernelError {
            #expect(error.errno == .ioError && plan.wasReached, "\(error)")
          }
        }
        #expect(probes == 2 * VFIODeviceFeature.known.count + 1)
      }

      private func concernsMigration(_ path: String) -> Bool {
        concernsVFIO(path) || path.contains("mtty")
      }
    #endif
  }
}

/// One of the kernel's sample devices, for the time of a test.
final class MediatedDevice: Sendable {
  let uuid: String

  init(_ uuid: String) throws {
    self.uuid = uuid
    try Sysfs.write(uuid, to: "devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/create")
  }

  func open(_ mode: VFIOMode) throws -> VFIOMigration {
    let number = try #require(Int(try Sysfs.linkName("bus/mdev/devices/\(uuid)/iommu_group")))
    let group = try VFIOGroup(number, joining: VFIOContainer(mode: mode))
    return VFIOMigration(adopting: try group.openDevice(named: uuid), in: group, subject: uuid)
  }

  deinit { try? Sysfs.write("1", to: "bus/mdev/devices/\(uuid)/remove") }
}
