// SPDX-License-Identifier: Apache-2.0
internal import CTwinsNVMe
internal import DMACore
internal import LinuxHandles
internal import NVMeDriver
internal import PCIBus
internal import VFIO

/// What a controller is asked for.
struct Workload {
  let name: String
  let byteCount: Int
  let depth: Int
  /// How many reads are timed at once.
  let count: Int

  static let all = [
    Workload(name: "4 KiB, depth 1", byteCount: 4096, depth: 1, count: 100),
    Workload(name: "4 KiB, depth 32", byteCount: 4096, depth: 32, count: 400),
    Workload(name: "128 KiB, depth 8", byteCount: 128 << 10, depth: 8, count: 100),
  ]
  /// What ends an opening.
  static let first = Workload(name: "first read", byteCount: 4096, depth: 1, count: 1)
  /// The longest of them.
  static let dataByteCount = 1 << 20
  /// Of the queues.
  static let greatestDepth = 32
}

/// A driver with its controller.
protocol Contestant: ~Copyable {
  init(_ address: PCIAddress) throws
  mutating func reads(_ workload: Workload) throws
}

/// This package's.
@safe
struct OurDriver: ~Copyable, Contestant {
  private let driver: NVMeDriver<VFIODevice>
  private let namespace: NVMeNamespace
  private var queue: NVMeQueuePair
  private let memory: DMAMemory
  /// A plain array, as C has it; never freed.
  private let free = UnsafeMutablePointer<UInt64>.allocate(capacity: Workload.greatestDepth)

  init(_ address: PCIAddress) throws {
    let driver = try NVMeDriver(VFIODevice.open(address, mode: .iommufd))
    let namespace = try driver.controller.namespace(1)
    let queue = try driver.controller.makeQueuePair(depth: Workload.greatestDepth)
    memory = try driver.controller.expose(
      UnsharedMemory(byteCount: Workload.dataByteCount), access: .readWrite)
    self.driver = driver
    self.namespace = namespace
    self.queue = queue
  }

  mutating func reads(_ workload: Workload) throws {
    // Without overflow checks, as C: an emulated processor is slow at them, and they are not the driver's.
    let byteCount = UInt64(workload.byteCount)
    let blocks = UInt32(workload.byteCount >> namespace.blockShift)
    let mask = namespace.blockCount / UInt64(blocks) - 1
    // The pieces of memory that no command has.
    var freeCount = workload.depth
    for piece in 0..<freeCount { unsafe free[piece] = UInt64(freeCount - 1 - piece) }
    let count = UInt32(workload.count)
    var (issued, done): (UInt32, UInt32) = (0, 0)
    var failure: NVMeStatus?
    while done != count {
      while issued != count, freeCount != 0 {
        let piece = unsafe free[freeCount &- 1]
        let place = twin_nvme_scatter(issued) & mask
        let isIn = queue.submit(
          NVMeCommand(.read, namespaceID: 1, block: place &* UInt64(blocks), count: blocks),
          moving: workload.byteCount, at: IOVA(memory.iova.rawValue &+ piece &* byteCount), tag: piece)
        // A command that is a round behind holds the queue up.
        guard isIn else { break }
        freeCount &-= 1
        issued &+= 1
      }
      queue.ring()
      var taken = 0
      while taken == 0 {
        while let completion = try queue.poll() {
          if !completion.status.isSuccess { failure = completion.status }
          unsafe free[freeCount] = completion.tag
          freeCount &+= 1
          taken &+= 1
        }
      }
      queue.acknowledge(taken)
      done &+= UInt32(truncatingIfNeeded: taken)
    }
    if let failure { throw NVMeError(.read, endedWith: failure) }
  }
}

/// C's.
@safe
struct TwinDriver: ~Copyable, Contestant {
  private var controller = unsafe twin_nvme_controller()
  private let name: String
  /// Whether it does the same accesses as we do, or more of them, as libvfn.
  var savesAccesses = true

  init(_ address: PCIAddress) throws {
    name = address.description
    try kernelCall("twin", on: name) {
      unsafe twin_nvme_open(
        name, UInt32(2 * Workload.greatestDepth), UInt64(Workload.dataByteCount), &controller)
    }
  }

  mutating func reads(_ workload: Workload) throws {
    try kernelCall("twin", on: name) {
      unsafe twin_nvme_reads(
        &controller, UInt32(workload.count), UInt32(workload.depth), UInt32(workload.byteCount),
        savesAccesses)
    }
  }

  deinit {
    var last = unsafe controller
    unsafe twin_nvme_close(&last)
  }
}
