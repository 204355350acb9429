// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// BAR windows for other processes: dma-bufs where the kernel maps them, brokers elsewhere.
  @Suite struct DelegationTests {
    static let identification = Register32(byteOffset: 0, access: .readOnly)
    static let liveness = Register32(byteOffset: 4, access: .readWrite)
    static let identity: UInt32 = 0x0100_00ed

    static var isPatched: Bool { Lab.kernel == "patched" }
    /// Debian's kernels of these versions have no export.
    static var exports: Bool { !Lab.kernel.hasPrefix("stock") }
    static var modes: [VFIOMode] { exports ? LabFunction.modes : [.type1v2, .type1] }

    @Test(arguments: modes)
    func theKernelDecidesHowRegistersAreReached(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      guard Self.exports else {
        let error = #expect(throws: KernelError.self) { _ = try device.exportDMABuf(of: .bar0, [0..<4096]) }
        #expect(error?.errno == .notSupported && error?.remedy?.contains("RegisterBroker") == true)
        #expect(try device.delegate(.bar0, [0..<4096]).mappability == .brokerOnly)
        return
      }
      let dmaBuf = try device.exportDMABuf(of: .bar0, [0..<4096])
      #expect(dmaBuf.byteCount == 4096)
      #expect(try dmaBuf.mappability == (Self.isPatched ? .mappable : .brokerOnly))
      if Self.isPatched {
        let window = try dmaBuf.window()
        #expect(window.read(Self.identification) == Self.identity && window.mappedByteCount == 4096)
      } else {
        let error = #expect(throws: KernelError.self) { _ = try dmaBuf.window() }
        #expect(error?.operation == "mmap" && error?.errno == .invalidArgument)
      }
      #expect(
        try device.delegate(.bar0, [0..<4096]).mappability == (Self.isPatched ? .mappable : .brokerOnly))
    }

    @Test(arguments: modes)
    func exactlyTheChosenPartsAreReachedInTheirOrder(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let whole = try device.mapBAR(.bar0)
      // Two pages where edu has no register and answers all ones, around the one with its registers.
      let delegation = try device.delegate(.bar0, [8192..<12288, 0..<4096, 4096..<8192])
      let window = try delegation.grant().window()
      #expect(window.byteCount == 12288)
      #expect(window.load(UInt32.self, at: 0) == .max && window.load(UInt32.self, at: 8192) == .max)
      #expect(window.load(UInt32.self, at: 4096) == Self.identity)
      window.store(UInt32(0x1234_5678), at: 4096 + 4)
      #expect(whole.read(Self.liveness) == ~0x1234_5678)
      #expect(window.takeFault() == nil)
      let none = #expect(throws: KernelError.self) { _ = try device.delegate(.bar1, [0..<4096]) }
      #expect(none?.errno == .noSuchAddressOrDevice)
    }

    @Test(arguments: [
      [], [0..<0], [0..<2048], [2048..<6144], [0..<(1 << 20) + 4096], [1 << 20..<(1 << 20) + 4096],
    ])
    func partsThatAreNoneAreRefused(_ ranges: [Range<Int>]) throws {
      let device = try LabFunction.open(LabFunction.edu, nil)
      for isExport in [true, false] where !isExport || Self.exports {
        let error = #expect(throws: KernelError.self) {
          if isExport {
            _ = try device.exportDMABuf(of: .bar0, ranges)
          } else {
            _ = try device.delegate(.bar0, ranges)
          }
        }
        #expect(error?.errno == .invalidArgument, "\(error?.description ?? "")")
      }
    }

    @Test func manyPartsAreExported() throws {
      guard Self.exports else { return }
      let device = try LabFunction.open(LabFunction.edu, nil)
      let pages = (0..<256).reversed().map { $0 * 4096..<($0 + 1) * 4096 }
      let dmaBuf = try device.exportDMABuf(of: .bar0, pages)
      #expect(dmaBuf.byteCount == 1 << 20)
      guard Self.isPatched else { return }
      let window = try dmaBuf.window(255 * 4096..<256 * 4096)
      #expect(window.read(Self.identification) == Self.identity, "the last of them is the first page")
      let beyond = #expect(throws: KernelError.self) {
        _ = try MappedMemory.sharing(dmaBuf.descriptor, offset: 1 << 20, byteCount: 4096)
      }
      #expect(beyond?.errno == .invalidArgument, "the kernel holds the bound too")
    }

    @Test(arguments: modes)
    func memoryDecodeRevokesAndGivesBack(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.edu, mode)
      let window = try device.delegate(.bar0, [0..<4096]).grant().window()
      // The delegation's broker would be gone with it; this one is kept.
      let delegation = try device.delegate(.bar0, [0..<4096])
      let other = try delegation.grant().window()
      #expect(other.read(Self.identification) == Self.identity)
      for _ in 0..<3 {
        try device.setMemoryDecode(false)
        #expect(other.read(Self.identification) == .max)
        other.write(1, to: Self.liveness)
        let fault = #expect(throws: DriverError.self) { try other.checkAccesses() }
        #expect(fault?.code == .revoked, "\(fault?.description ?? "")")
        try device.setMemoryDecode(true)
        other.write(2, to: Self.liveness)
        #expect(other.read(Self.liveness) == ~2 && other.takeFault() == nil)
      }
      if Self.isPatched { #expect(window.read(Self.identification) == Self.identity) }
    }

    @Test(arguments: modes)
    func windowsOfTheOwnerCanBeGuardedToo(_ mode: VFIOMode) throws {
      var device = try LabFunction.open(LabFunction.edu, mode)
      device.guardsWindows = true
      let window = try device.mapBAR(.bar0)
      #expect(window.mappedByteCount == 1 << 20)
      try device.setMemoryDecode(false)
      #expect(window.read(Self.identification) == .max)
      window.write(7, to: Self.liveness)
      #expect(window.takeFault()?.isRevokedAccess == true)
      try device.setMemoryDecode(true)
      #expect(window.read(Self.identification) == Self.identity && window.takeFault() == nil)
    }

    /// The danger that the guard is there for, to show that the test above sees it.
    @Test func anUnguardedWindowEndsTheProcess() async throws {
      try LabFunction.lend(LabFunction.edu)
      await #expect(processExitsWith: .signal(7)) {  // SIGBUS
        let device = try VFIODevice.open(LabFunction.edu)
        let window = try device.mapBAR(.bar0)
        try device.setMemoryDecode(false)
        _ = window.load(UInt32.self, at: 0)
      }
    }

    /// While the function resets, its registers are nobody's; afterwards they are back.
    @Test(arguments: modes)
    func aResetGivesBack(_ mode: VFIOMode) throws {
      let device = try LabFunction.open(LabFunction.nvme, mode)
      let delegation = try device.delegate(.bar0, [0..<4096])
      let window = try delegation.grant().window()
      let version = Register32(byteOffset: 8, access: .readOnly)
      let before = window.read(version)
      #expect(before != .max && before != 0)
      let reader = try ResettingReader(try delegation.grant().window())
      for _ in 0..<3 { try device.reset() }
      let seen = reader.stop()
      #expect(seen.reads > 0 && seen.values.isSubset(of: [before, .max]), "\(seen.values)")
      #expect(seen.wrongFaults == 0)
      // A mapped dma-buf answers at once; the owner's own mapping, behind a broker, waits for the reset's end.
      if Self.isPatched { #expect(seen.revocations > 0) }
      #expect(window.read(version) == before || window.takeFault() != nil)
      #expect(window.read(version) == before && window.takeFault() == nil)
    }

    @Test func closingTheDeviceRevokesForGood() throws {
      guard Self.isPatched else { return }
      let device = try LabFunction.open(LabFunction.edu, nil)
      let window = try device.delegate(.bar0, [0..<4096]).grant().window()
      #expect(window.read(Self.identification) == Self.identity)
      try device.close()
      for _ in 0..<2 {
        #expect(window.read(Self.identification) == .max)
        #expect(window.takeFault()?.isRevokedAccess == true)
      }
      let again = try LabFunction.open(LabFunction.edu, nil)
      #expect(try again.mapBAR(.bar0).read(Self.identification) == Self.identity)
      #expect(window.read(Self.identification) == .max, "another opening is another device")
    }

    @Test func aBrokerKeepsTheDeviceOpen() throws {
      let device = try LabFunction.open(LabFunction.edu, nil)
      let broker = try device.broker(.bar0, [0..<4096])
      let window = try RegisterGrant(from: broker).window()
      var caught: KernelError?
      do throws(KernelError) { try device.close() } catch { caught = error }
      #expect(caught?.errno == .resourceBusy)
      #expect(window.read(Self.identification) == Self.identity)
      #expect(broker.clientCount == 1)
    }
  }
}

extension VFIODevice {
  /// Lets the function answer accesses to its registers, or not.
  borrowing func setMemoryDecode(_ isOn: Bool) throws(KernelError) {
    var command = try configuration.command
    if isOn { command.insert(.memorySpace) } else { command.remove(.memorySpace) }
    try configuration.write16(command.rawValue, at: ConfigurationOffset.command)
  }
}
