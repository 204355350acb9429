// SPDX-License-Identifier: Apache-2.0
import DMACore
import Foundation
import LinuxHandles
import Synchronization
import SystemPackage
import TestSupport
import Testing
import VDUSE
import VDUSEBlock

extension KernelTests {
  /// T2: what a device and its driver tell one another beside requests: where memory lies, and what changed.
  @Suite struct VDUSEMemoryTests {
    private static let everything = IOVARange(start: IOVA(0), last: IOVA(.max))
    private static let pattern = Data((0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 11 &+ $0 >> 8) })

    /// Waits for a page that begins as the pattern does.
    private static func waitForPattern(in memory: borrowing MappedMemory) throws {
      let first = unsafe pattern.withUnsafeBytes { unsafe $0.loadUnaligned(as: UInt64.self) }
      let deadline = ContinuousClock.now + .seconds(60)
      while ContinuousClock.now < deadline {
        for page in stride(from: 0, to: memory.byteCount, by: 4096) {
          // The kernel writes it meanwhile.
          if unsafe (memory.baseAddress + page).load(as: UInt64.self) == first { return }
        }
        usleep(10_000)
      }
      Issue.record("what the kernel's driver wrote did not come")
    }

    /// The kernel's bounce pages are this process's, then the kernel's again, while a request is in them.
    @Test func memoryOfThisProcessStandsIn() throws {
      let scratch = try Scratch()
      let path = try scratch.image(8 << 20)
      let first = try ServedDisk(DiskImage(path: path), scratch)
      let disk = try KernelDisk(servedAs: "t")
      try disk.write(Data(repeating: 1, count: 4096), at: 0)
      first.stop()
      let failures = Mutex<[String]>([])
      do {
        let device = try VDUSEDevice(opening: "t", apiVersion: VDUSEControl().apiVersion)
        let info = try #require(try device.entryInfo(overlapping: Self.everything))
        #expect(info.takesUserMemory && info.range.start == IOVA(0))
        let byteCount = Int(info.range.byteCountMinusOne) + 1
        let memory = try MappedMemory.anonymous(byteCount: byteCount)
        try MemoryLockFixture.limited(to: 1 << 20) {
          let error = #expect(throws: KernelError.self) { try device.registerMemory(memory) }
          #expect(
            error?.errno == .noMemory && error?.remedy?.contains("ulimit -l \(byteCount >> 10)") == true)
        }
        let short = try MappedMemory.anonymous(byteCount: 4096)
        #expect(throws: KernelError.self) { try device.registerMemory(short) }
        nonisolated(unsafe) let shared = disk
        var writers: [WriterThread] = []
        try MemoryLockFixture.limited(to: 2 * byteCount) {
          try device.registerMemory(memory)
          let again = #expect(throws: KernelError.self) { try device.registerMemory(memory) }
          #expect(again?.errno == .fileExists)
          try writers.append(
            WriterThread {
              do { try unsafe shared.write(Self.pattern, at: 4096) } catch {
                failures.withLock { $0.append("\(error)") }
              }
            })
          try Self.waitForPattern(in: memory)
          try device.deregisterMemory(memory)
          let none = #expect(throws: KernelError.self) { try device.deregisterMemory(memory) }
          #expect(none?.errno == .noSuchFileOrDirectory)
        }
        try device.close()
        let second = try ServedDisk(DiskImage(path: path), scratch)
        // Ends when the second server has served what the first did not see.
        writers.removeAll()
        #expect(try disk.read(4096, at: 4096) == Self.pattern)
        #expect(second.reports.all.isEmpty, "\(second.reports.all)")
      }
      #expect(failures.withLock { $0 }.isEmpty, "\(failures.withLock { $0 })")
      let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
      #expect(bytes[4096..<8192] == Self.pattern)
    }

    /// The size of a disk is in its configuration space.
    @Test func theDriverSeesThatTheConfigurationChanged() throws {
      let scratch = try Scratch()
      let served = try ServedDisk(DiskImage(path: scratch.image(8 << 20)), scratch)
      let node = try KernelDisk(servedAs: "t").node
      let file = "/sys/class/block/\(node.split(separator: "/").last ?? "")/size"
      func size() throws -> Int? {
        Int(try String(contentsOfFile: file, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines))
      }
      #expect(try size() == 16384)
      try served.device.changeConfiguration([0, 0x20, 0, 0, 0, 0, 0, 0], at: 0)
      let deadline = ContinuousClock.now + .seconds(60)
      while try size() != 8192, ContinuousClock.now < deadline { usleep(10_000) }
      #expect(try size() == 8192)
      let beyond = #expect(throws: KernelError.self) { try served.device.changeConfiguration([1], at: 4096) }
      #expect(beyond?.operation == "VDUSE_DEV_SET_CONFIG" && beyond?.errno == .invalidArgument)
      try served.remove()
      let late = #expect(throws: KernelError.self) { try served.device.changeConfiguration([1], at: 0) }
      #expect(late?.errno == .operationNotSupportedByDevice)
    }

    #if DEBUG
      /// Where the kernel refuses a call the caller learns of it, but for an interrupt that no driver is there to take.
      @Test func aChangeOfTheConfigurationMayFail() throws {
        let scratch = try Scratch()
        let served = try ServedDisk(DiskImage(path: scratch.image(1 << 20)), scratch)
        let swept = try faultSweep(.ioError, concerning: { _ in false }) { plan in
          do {
            try FaultPlan.$current.withValue(plan) { try served.device.changeConfiguration([0], at: 4) }
            #expect(!plan.wasReached)
          } catch let error as KernelError {
            #expect(plan.wasReached && error.errno == .ioError, "\(error)")
          }
        }
        #expect(swept == 2, "\(swept) calls")
        let early = FaultPlan(atCall: 1, of: "VDUSE_DEV_INJECT_CONFIG_IRQ", .fails(.invalidArgument))
        try FaultPlan.$current.withValue(early) { try served.device.changeConfiguration([0], at: 4) }
        #expect(early.wasReached)
      }
    #endif
  }
}
