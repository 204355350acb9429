// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore
import EduDriver
import Foundation
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// Devices and registers that go to other processes, and owners that die.
  @Suite struct HandOverTests {
    static let nobody: UInt32 = 65534

    /// A thread that serves the next connection at a path.
    private static func serving(
      _ listener: consuming LocalListener, _ body: @escaping @Sendable (borrowing LocalSocket) throws -> Void
    ) throws -> OwnedThread {
      let shared = SharedListener(listener)
      return try OwnedThread {
        do {
          try body(try shared.listener.accept())
        } catch {
          Issue.record("serving: \(error)")
        }
      }
    }

    static func drop(to user: UInt32) throws {
      let isDropped = setgroups(0, nil) == 0 && setgid(user) == 0 && setuid(user) == 0
      try #require(isDropped)
    }

    /// A process without any right drives the device that it was handed: registers, DMA, interrupts.
    @Test(arguments: LabFunction.modes)
    func anUnprivilegedProcessDrives(_ mode: VFIOMode) async throws {
      let path = "/tmp/hand-over-\(mode.rawValue)"
      let owner = SharedDevice(try LabFunction.open(LabFunction.edu, mode))
      let thread = try Self.serving(LocalListener(at: path, mode: 0o666)) { socket in
        try owner.device.share(over: socket)
      }
      await #expect(processExitsWith: .success) { [path = path as String] in
        try HandOverTests.driveWithoutRights(path)
      }
      _ = consume thread
      unsafe unlink(path)
      // The opener still has it, and what the other did to it.
      #expect(try owner.device.configuration.vendorID == 0x1234)
      #expect(try owner.device.configuration.isBusMasterEnabled)
    }

    static func driveWithoutRights(_ path: String) throws {
      try drop(to: nobody)
      #expect(throws: (any Error).self) { _ = try VFIODevice.open(LabFunction.edu) }
      let driver = try EduDriver(VFIODevice.receive(from: LocalSocket(connectingTo: path)))
      let isAlive = driver.isAlive(0x55aa)
      let factorial = try driver.factorial(of: 5, by: .msi)
      #expect(isAlive && factorial == 120)
      let bytes: [UInt8] = (0..<64).map { $0 ^ 0x5a }
      try unsafe driver.copyToDevice(bytes.span.bytes)
      var back = [UInt8](repeating: 0, count: 64)
      do {
        var span = back.mutableSpan
        var raw = unsafe span.mutableBytes
        try driver.copyFromDevice(into: &raw)
      }
      #expect(back == bytes)
    }

    /// Both ways of the design in one process: the opener's address space, and one of the adopter's own.
    @Test func anAdopterChoosesItsAddressSpace() throws {
      let opened = try LabFunction.open(LabFunction.edu, .iommufd)
      let pair = try LocalSocketPair()
      try opened.share(over: pair.near)
      let adopted = try VFIODevice.receive(from: pair.far)
      #expect(adopted.iommufdID == opened.iommufdID && adopted.mode == .iommufd)
      #expect(
        adopted.resources
          == PCIFunctionResources(
            barByteCounts: opened.resources.barByteCounts, vectorCounts: opened.resources.vectorCounts,
            isResettable: opened.resources.isResettable))
      let labels = [opened.addressSpace.label, adopted.addressSpace.label]
      #expect(labels[0] != labels[1], "\(labels)")
      let isAlive = try EduDriver(adopted).isAlive(1)
      #expect(isAlive)
    }

    @Test(arguments: [
      " ", "VFIODevice", "VFIODevice iommufd 0000:00:02.0 -", "VFIODevice iommufd 0000:00:02.0 x",
      "VFIODevice nothing 0000:00:02.0 1", "VFIODevice type1 here -", "vfiodevice type1 0000:00:02.0 -",
      "VFIODevice type1 0000:00:02.0 - -",
    ])
    func whatIsNoDeviceIsRefusedAndClosed(_ text: String) throws {
      let leaks = LeakCheck(concerning: concernsVFIO)
      let pair = try LocalSocketPair()
      do {
        var descriptors = DescriptorList()
        for _ in 0..<2 {
          descriptors.append(try OwnedDescriptor.open(LabFunction.anyMode.nodePath, for: .readWrite))
        }
        try pair.near.send(SocketMessage(Array(text.utf8), descriptors: descriptors))
      }
      let error = #expect(throws: KernelError.self) { _ = try VFIODevice.receive(from: pair.far) }
      #expect(error?.errno == .badMessage)
      try leaks.verify()
    }

    /// Descriptors that are no device of VFIO's are the kernel's to refuse.
    @Test func otherFilesAreNoDevices() throws {
      let leaks = LeakCheck(concerning: concernsVFIO)
      let pair = try LocalSocketPair()
      do {
        var descriptors = DescriptorList()
        for _ in 0..<2 { descriptors.append(try OwnedDescriptor.open("/dev/iommu", for: .readWrite)) }
        let text = "VFIODevice iommufd 0000:00:02.0 1"
        try pair.near.send(SocketMessage(Array(text.utf8), descriptors: descriptors))
      }
      let error = #expect(throws: KernelError.self) { _ = try VFIODevice.receive(from: pair.far) }
      #expect(error?.operation.hasPrefix("VFIO_DEVICE") == true, "\(error?.description ?? "")")
      try leaks.verify()
    }

    /// The owner is killed while another process holds its registers.
    @Test func anOwnersDeathRevokes() async throws {
      try LabFunction.lend(LabFunction.edu)
      let path = "/tmp/owner"
      let thread = try Self.serving(LocalListener(at: path)) { socket in
        let grant = try RegisterGrant.receive(from: socket)
        #expect((grant.mappability == .mappable) == DelegationTests.isPatched)
        let window = try grant.window()
        #expect(window.read(DelegationTests.identification) == DelegationTests.identity)
        window.write(3, to: DelegationTests.liveness)
        #expect(window.read(DelegationTests.liveness) == ~3 && window.takeFault() == nil)
        try socket.send(SocketMessage([1]))
        // The owner is killed by what comes next; the end of its connection tells when.
        #expect(try socket.receive(upTo: 1)?.bytes == nil)
        let end = Deadline(.seconds(10))
        while window.takeFault() == nil && !end.isOver { _ = window.read(DelegationTests.identification) }
        for _ in 0..<2 {
          #expect(window.read(DelegationTests.identification) == .max)
          #expect(window.takeFault()?.isRevokedAccess == true)
        }
      }
      await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String] in
        let device = try VFIODevice.open(LabFunction.edu)
        let delegation = try device.delegate(.bar0, [0..<4096])
        let socket = try LocalSocket(connectingTo: path)
        try delegation.grant().send(over: socket)
        _ = try socket.receive(upTo: 1)
        kill(getpid(), SIGKILL)
      }
      _ = consume thread
      unsafe unlink(path)
    }

    /// The example, as its page says it is used.
    @Test func theExampleSurvivesItsOwner() throws {
      try LabFunction.lend(LabFunction.edu)
      let path = "/tmp/registers"
      let owner = try Self.start(["own", "\(LabFunction.edu)", path])
      #expect(owner.firstLine().contains(DelegationTests.isPatched ? "mappable" : "broker only"))
      let drawer = try Self.start(["draw", path])
      #expect(drawer.firstLine().contains("user 65534, 4096 bytes"))
      #expect(drawer.firstLine() == "drawer: 1000 strokes")
      kill(owner.process.processIdentifier, SIGKILL)
      let last = drawer.firstLine()
      #expect(last.contains("alive after") && last.contains("registers revoked"), "\(last)")
      drawer.process.waitUntilExit()
      #expect(drawer.process.terminationReason == .exit && drawer.process.terminationStatus == 0)
      owner.process.waitUntilExit()
      unsafe unlink(path)
    }

    private static func start(_ arguments: [String]) throws -> RunningProgram {
      try RunningProgram(Lab.delegation, arguments)
    }

    #if DEBUG
      @Test(arguments: LabFunction.modes)
      func everyCallMayFail(_ mode: VFIOMode) throws {
        let opened = try LabFunction.open(LabFunction.edu, mode)
        let swept = try faultSweep(concerning: concernsVFIO) { plan in
          do {
            try FaultPlan.$current.withValue(plan) {
              let pair = try LocalSocketPair()
              try opened.share(over: pair.near)
              let adopted = try VFIODevice.receive(from: pair.far)
              try adopted.setBusMaster(false)
            }
          } catch let error as KernelError {
            #expect(error.errno == .ioError && plan.wasReached, "\(error)")
          }
        }
        #expect(swept >= 12, "\(swept) calls")
        #expect(try opened.configuration.vendorID == 0x1234)
      }
    #endif
  }
}

private final class SharedDevice: Sendable {
  let device: VFIODevice
  init(_ device: consuming VFIODevice) { self.device = device }
}

private final class SharedListener: Sendable {
  let listener: LocalListener
  init(_ listener: consuming LocalListener) { self.listener = listener }
}

/// A program whose output is read line by line while it runs.
private final class RunningProgram {
  let process = Process()
  private let output = Pipe()
  private var rest: [UInt8] = []

  init(_ path: String, _ arguments: [String]) throws {
    process.executableURL = URL(filePath: path)
    process.arguments = arguments
    process.standardOutput = output
    try process.run()
  }

  /// The next line; empty at the end of the output.
  func firstLine() -> String {
    while true {
      if let end = rest.firstIndex(of: 10) {
        let line = String(decoding: rest[..<end], as: UTF8.self)
        rest.removeSubrange(...end)
        return line
      }
      let more = output.fileHandleForReading.availableData
      if more.isEmpty { return String(decoding: rest, as: UTF8.self) }
      rest += more
    }
  }
}
