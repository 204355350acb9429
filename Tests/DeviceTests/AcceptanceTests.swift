// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import DriverCore
import Glibc
import LinuxHandles
import PCIBus
import Synchronization
import SystemPackage
import TestSupport
import Testing
import VFIO

extension DeviceTests {
  /// The cases of the kernel's own device tests, through this library.
  @Suite struct AcceptanceTests {
    private static let functions = [
      LabFunction.edu, LabFunction.testDevice, LabFunction.nvme, LabFunction.igb,
    ]

    @Test(arguments: LabFunction.modes, functions)
    func configSpaceReadWrite(_ mode: VFIOMode, _ address: PCIAddress) throws {
      let device = try LabFunction.open(address, mode)
      let facts = try PCIBus().function(at: address)
      #expect(try device.configuration.vendorID == facts.vendorID)
      #expect(try device.configuration.deviceID == facts.deviceID)
      #expect(try !device.configuration.isBusMasterEnabled)
      try device.setBusMaster(true)
      #expect(try device.configuration.isBusMasterEnabled)
      try device.setBusMaster(false)
      #expect(try !device.configuration.isBusMasterEnabled)
    }

    @Test(arguments: LabFunction.modes, functions)
    func validateBARs(_ mode: VFIOMode, _ address: PCIAddress) throws {
      let device = try LabFunction.open(address, mode)
      let configuration = device.region(.configuration)
      #expect(configuration?.mappableAreas == [])
      for index in PCIBAR.Index.allCases {
        let found = device.region(.bar(index.rawValue))
        let region = try #require(found)
        guard region.byteCount > 0 else {
          #expect(throws: KernelError.self) { _ = try device.mapBAR(index) }
          continue
        }
        #expect(region.byteCount & (region.byteCount - 1) == 0, "a BAR is as long as a power of two")
        let window = try device.mapBAR(index)
        #expect(window.byteCount == Int(region.byteCount))
        #expect((window.mappedByteCount > 0) == !region.mappableAreas.isEmpty)
      }
    }

    @Test(arguments: LabFunction.modes, functions)
    func reset(_ mode: VFIOMode, _ address: PCIAddress) throws {
      let device = try LabFunction.open(address, mode)
      if device.resources.isResettable {
        try device.reset()
      } else {
        let error = #expect(throws: KernelError.self) { try device.reset() }
        #expect(error?.errno == .invalidArgument)
      }
    }

    /// How long it takes to open and close functions from as many threads at once; nothing is bounded.
    @Test(arguments: LabFunction.modes)
    func initPerformance(_ mode: VFIOMode) throws {
      let functions = Self.functions + [LabFunction.secondEdu]
      for address in functions { try LabFunction.lend(address) }
      let run = OpeningRun(count: functions.count)
      let began = ContinuousClock.now
      do {
        var threads = ThreadList()
        for (index, address) in functions.enumerated() {
          threads.append(try OwnedThread { run.open(address, mode, as: index) })
        }
      }
      let wall = ContinuousClock.now - began
      let results = run.results.withLock { $0 }
      let times = results.compactMap { try? $0?.get() }
      #expect(times.count == functions.count, "\(results)")
      let sum = times.reduce(.zero, +)
      print(
        "open \(functions.count) functions in \(functions.count) threads, mode \(mode.rawValue): "
          + "wall \(wall), min \(times.min() ?? .zero), max \(times.max() ?? .zero), "
          + "avg \(sum / functions.count)")
    }
  }
}

/// Threads that begin together, and what became of each.
private final class OpeningRun: Sendable {
  let results: Mutex<[Result<Duration, KernelError>?]>
  private let count: Int
  private let arrived = Atomic<Int>(0)

  init(count: Int) {
    self.count = count
    results = Mutex(Array(repeating: nil, count: count))
  }

  func open(_ address: PCIAddress, _ mode: VFIOMode, as index: Int) {
    arrived.add(1, ordering: .sequentiallyConsistent)
    while arrived.load(ordering: .sequentiallyConsistent) < count { usleep(100) }
    let began = ContinuousClock.now
    let result = Result { () throws(KernelError) -> Duration in
      let device = try VFIODevice.open(address, mode: mode)
      let time = ContinuousClock.now - began
      try device.close()
      return time
    }
    results.withLock { $0[index] = result }
  }
}

/// Threads whose end is waited for together.
private struct ThreadList: ~Copyable {
  private final class Node {
    let thread: OwnedThread
    let next: Node?
    init(_ thread: consuming OwnedThread, next: Node?) {
      self.thread = thread
      self.next = next
    }
  }
  private var first: Node?
  mutating func append(_ thread: consuming OwnedThread) { first = Node(thread, next: first) }
}
