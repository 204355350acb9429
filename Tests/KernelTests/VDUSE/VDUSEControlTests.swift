// SPDX-License-Identifier: Apache-2.0
import DMACore
import Foundation
import LinuxHandles
import SystemPackage
import TestSupport
import Testing
import VDUSE

extension KernelTests {
  /// T2: devices are made, looked at and taken away; nothing is served.
  @Suite struct VDUSEControlTests {
    private static func concerns(_ path: String) -> Bool {
      path.hasPrefix("/dev/vduse") || path.contains("eventfd") || path.hasPrefix("socket")
    }

    private static func disk(_ name: String = "c") -> VDUSEDeviceDescription {
      VDUSEDeviceDescription(
        name: name, deviceID: .block, features: VirtioFeature.accessPlatform | VirtioFeature.version1,
        queueCount: 2, configuration: .init(repeating: 0, count: 60))
    }

    @Test func theKernelSaysWhatItHas() throws {
      let newest = try VDUSEControl()
      #expect(newest.apiVersion == .one && newest.features == .all)
      let oldest = try VDUSEControl(apiVersion: .zero, features: [])
      #expect(oldest.apiVersion == .zero && oldest.features.isEmpty)
      let error = #expect(throws: KernelError.self) {
        try VDUSEControl(features: VDUSEFeatures(rawValue: 1 << 63))
      }
      #expect(error?.operation == "VDUSE_SET_FEATURES" && error?.errno == .invalidArgument)
    }

    @Test func withoutVDUSEThereIsARemedy() {
      let error = #expect(throws: KernelError.self) { try VDUSEControl(path: "/dev/vduse/nothing") }
      #expect(error?.errno == .noSuchFileOrDirectory && error?.remedy?.contains("modprobe vduse") == true)
    }

    @Test(arguments: VDUSEAPIVersion.allCases)
    func aDeviceIsMadeOnceAndTakenAway(_ version: VDUSEAPIVersion) throws {
      let control = try VDUSEControl(apiVersion: version)
      try control.create(Self.disk())
      let taken = #expect(throws: KernelError.self) { try control.create(Self.disk()) }
      #expect(taken?.errno == .fileExists && taken?.remedy?.contains("taken") == true)
      do {
        let device = try VDUSEDevice(opening: "c", apiVersion: version)
        let second = #expect(throws: KernelError.self) {
          _ = try VDUSEDevice(opening: "c", apiVersion: version)
        }
        #expect(second?.errno == .resourceBusy)
        #expect(throws: KernelError.self) { try control.destroy("c") }
        try device.close()
      }
      try control.destroy("c")
      let gone = #expect(throws: KernelError.self) { try control.destroy("c") }
      #expect(gone?.errno == .invalidArgument && gone?.remedy?.contains("no VDUSE device") == true)
      let missing = #expect(throws: KernelError.self) {
        _ = try VDUSEDevice(opening: "c", apiVersion: version)
      }
      #expect(missing?.errno == .noSuchFileOrDirectory)
    }

    /// What we say of the kernel's rules is what the kernel says.
    @Test(arguments: VDUSEAPIVersion.allCases)
    func theKernelRefusesWhatWeSay(_ version: VDUSEAPIVersion) throws {
      let control = try VDUSEControl(apiVersion: version)
      let changes: [(inout VDUSEDeviceDescription) -> Void] = [
        { $0.groupCount = 0 }, { $0.addressSpaceCount = 0 }, { $0.queueAlignment = 2 },
        { $0.queueAlignment = 8192 },
        { $0.queueAlignment = 48 }, { $0.configuration = .init(repeating: 0, count: 4097) }, { $0.name = "" },
        { $0.deviceID = .init(rawValue: 3) }, { $0.features = VirtioFeature.version1 },
        { $0.features |= 1 << 11 },
        {
          $0.deviceID = .network; $0.features |= 1 << 17
        },
        {
          $0.deviceID = .network; $0.features = VirtioFeature.accessPlatform
        },
        // And what it takes.
        { $0.queueAlignment = 4 }, { $0.configuration = [] }, { $0.queueCount = 0 },
        { $0.deviceID = .fileSystem },
        { $0.deviceID = .network },
        {
          $0.groupCount = 2; $0.addressSpaceCount = 2
        },
      ]
      for (index, change) in changes.enumerated() {
        var description = Self.disk()
        change(&description)
        let objection = description.objection(version)
        do {
          try control.create(description)
          try control.destroy(description.name)
          #expect(objection == nil, "change \(index)")
        } catch {
          #expect(
            error.errno == .invalidArgument && error.remedy == objection && objection != nil,
            "change \(index)")
        }
      }
      let long = #expect(throws: KernelError.self) {
        try control.create(Self.disk(String(repeating: "n", count: 256)))
      }
      #expect(long?.errno == .fileNameTooLong)
    }

    @Test func aDeviceThatNobodyDrivesAnswers() throws {
      let control = try VDUSEControl()
      try control.create(Self.disk())
      defer { try? control.destroy("c") }
      let device = try VDUSEDevice(opening: "c", apiVersion: .one)
      #expect(try device.driverFeatures == 0 && device.readRequest() == nil)
      try device.setUpQueue(0, maximumSize: 64)
      #expect(throws: KernelError.self) { try device.setUpQueue(2, maximumSize: 64) }
      #expect(throws: KernelError.self) { try device.setUpQueue(0, maximumSize: 64, group: 1) }
      let info = try device.queueInfo(1)
      #expect(!info.isReady && info.size == 0 && info.state == VDUSEQueueState(availableIndex: 0))
      #expect(throws: KernelError.self) { _ = try device.queueInfo(2) }
      try device.setConfiguration([1, 2, 3], at: 57)
      #expect(throws: KernelError.self) { try device.setConfiguration([1, 2, 3], at: 58) }
      #expect(throws: KernelError.self) { try device.setConfiguration([], at: 0) }
      #expect(throws: KernelError.self) { try device.interruptConfiguration() }
      let early = #expect(throws: KernelError.self) { try device.interruptQueue(0) }
      #expect(early?.errno == .invalidArgument)
      let kick = try EventFD()
      try device.setKick(ofQueue: 0, to: kick.descriptor)
      try device.removeKick(ofQueue: 0)
      #expect(throws: KernelError.self) { try device.setKick(ofQueue: 2, to: kick.descriptor) }
      let everything = IOVARange(start: IOVA(0), last: IOVA(.max))
      do {
        let entry = try device.entry(overlapping: everything)
        if entry != nil { Issue.record("nothing is mapped before the device is on the bus") }
      }
      #expect(try device.entryInfo(overlapping: everything) == nil)
      let memory = try MappedMemory.anonymous(byteCount: 64 << 20)
      let refused = #expect(throws: KernelError.self) { try device.registerMemory(memory) }
      #expect(refused?.errno == .invalidArgument)
      let none = #expect(throws: KernelError.self) { try device.deregisterMemory(memory) }
      #expect(none?.errno == .noSuchFileOrDirectory)
      let answer = #expect(throws: KernelError.self) {
        try device.respond(VDUSEResponse(to: 7, isDone: true))
      }
      #expect(answer?.errno == .noSuchFileOrDirectory)
    }

    // MARK: The bus

    @Test func theBusSaysWhyNot() throws {
      let bus = VDPABus()
      let unknown = #expect(throws: KernelError.self) { try bus.attach("nobody") }
      #expect(unknown?.operation == "VDPA_CMD_DEV_NEW" && unknown?.errno == .invalidArgument)
      let manager = #expect(throws: KernelError.self) { try bus.attach("nobody", managedBy: "none") }
      #expect(manager?.errno.rawValue == ENODEV && manager?.remedy?.contains("the kernel says: ") == true)
      let absent = #expect(throws: KernelError.self) { try bus.detach("nobody") }
      #expect(absent?.errno.rawValue == ENODEV && absent?.remedy?.contains("not found") == true)
      try CapabilityFixture.without(.networkAdministration) {
        let error = #expect(throws: KernelError.self) { try bus.detach("nobody") }
        #expect(error?.errno == .notPermitted && error?.remedy?.contains("CAP_NET_ADMIN") == true)
        var card = Self.disk()
        card.deviceID = .network
        let refused = #expect(throws: KernelError.self) { try VDUSEControl().create(card) }
        #expect(refused?.errno == .notPermitted && refused?.remedy?.contains("CAP_NET_ADMIN") == true)
      }
      #expect(!bus.has("nobody"))
      #expect(try bus.driver(of: "nobody") == nil)
    }

    #if DEBUG
      @Test func everyCallMayFail() throws {
        let swept = try faultSweep(.noMemory, concerning: Self.concerns) { plan in
          defer { try? VDUSEControl().destroy("c") }
          do {
            try FaultPlan.$current.withValue(plan) {
              let control = try VDUSEControl()
              try control.create(Self.disk())
              let device = try VDUSEDevice(opening: "c", apiVersion: .one)
              let kick = try EventFD()
              for index in 0..<2 {
                try device.setUpQueue(index, maximumSize: 64)
                try device.setKick(ofQueue: index, to: kick.descriptor)
                _ = try device.queueInfo(index)
                try device.removeKick(ofQueue: index)
              }
              _ = try device.queueCount
              try device.setConfiguration([1], at: 0)
              _ = try (device.driverFeatures, device.readRequest())
              let range = IOVARange(start: IOVA(0), last: IOVA(0xfff))
              _ = try device.entryInfo(overlapping: range)
              do {
                try VDPABus().detach("nobody")
              } catch let error as KernelError where error.errno.rawValue == ENODEV {}
              try device.close()
              try control.destroy("c")
            }
            #expect(!plan.wasReached)
          } catch let error as KernelError {
            #expect(plan.wasReached && error.errno == .noMemory, "\(error)")
          }
        }
        #expect(swept >= 25, "\(swept) calls")
      }
    #endif
  }
}
