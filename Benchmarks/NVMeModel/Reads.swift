// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DeviceSimulation
internal import DriverCore
internal import Glibc
internal import LinuxHandles
internal import NVMeDriver

/// Random reads from a controller whose blocks say which they are, with so many on their way at all times.
struct Reads: ~Copyable {
  private static let depth = 32
  private static let blockByteCount = 4096
  /// So many are read between two looks at the clock.
  private static let roundCount = 1 << 16

  private let driver: NVMeDriver<SimulatedFunction>
  private var queue: NVMeQueuePair
  /// A page for each read.
  private let memory: DMAMemory
  private let blockMask: UInt64
  private var random: UInt64 = 0x9e37_79b9_7f4a_7c15

  /// Makes a controller with a namespace of blocks of 4 KiB, and fills it.
  /// - Parameter byteCount: A power of two.
  init(byteCount: Int) throws {
    var options = NVMeModelOptions()
    options.namespaces = [.init(blockCount: UInt64(byteCount / Self.blockByteCount), blockShift: 12)]
    options.pollsDoorbells = true
    let function = try SimulatedFunction(NVMeModel(options))
    let driver = try NVMeDriver(function)
    let namespace = try driver.controller.namespace(1)
    var queue = try driver.controller.makeQueuePair(depth: Self.depth)
    let memory = try driver.controller.expose(
      UnsharedMemory(byteCount: Self.depth * Self.blockByteCount), access: .readWrite, sharing: .coherent)
    for block in 0..<namespace.blockCount {
      for place in stride(from: 0, to: Self.blockByteCount, by: 8) {
        memory.store(Self.word(of: block, at: place), at: place)
      }
      try queue.write(namespace, at: block, count: 1, from: memory)
    }
    self.driver = driver
    self.queue = queue
    self.memory = memory
    blockMask = namespace.blockCount - 1
  }

  private static func word(of block: UInt64, at place: Int) -> UInt64 { block &<< 16 | UInt64(place) }

  /// Reads for a time.
  /// - Returns: Million reads a second.
  mutating func run(for time: Duration) throws(NVMeError) -> Double {
    let start = ContinuousClock.now
    var count = 0
    for page in 0..<Self.depth { submit(into: page) }
    queue.ring()
    while start.duration(to: .now) < time {
      try read(Self.roundCount)
      count += Self.roundCount
    }
    let seconds = start.duration(to: .now) / .seconds(1)
    try queue.drain(until: Deadline(.seconds(60)))
    return Double(count) / seconds / 1e6
  }

  /// The tag of a read is its block and its page.
  @inline(__always)
  private mutating func submit(into page: Int) {
    random ^= random &<< 13
    random ^= random &>> 7
    random ^= random &<< 17
    let block = random &>> 20 & blockMask
    queue.submit(
      NVMeCommand(.read, namespaceID: 1, block: block, count: 1), moving: Self.blockByteCount,
      at: memory.iova(at: page * Self.blockByteCount), tag: block &<< 8 | UInt64(page))
  }

  /// Takes so many completions, and puts a new read in the place of each.
  private mutating func read(_ count: Int) throws(NVMeError) {
    var left = count
    var emptyLooks = 0
    while left > 0 {
      let before = left
      while let completion = try queue.poll() {
        let page = Int(completion.tag & 0xff)
        precondition(completion.status.isSuccess, "a read failed")
        if left & 0x3f == 0 { check(page, completion.tag &>> 8, at: left &>> 6 & 0x1ff) }
        left &-= 1
        submit(into: page)
      }
      guard left != before else {
        emptyLooks &+= 1
        // So long only where the controller has no processor: it may be waiting for this one.
        if emptyLooks > 10_000 { sched_yield() }
        continue
      }
      emptyLooks = 0
      queue.acknowledge()
      queue.ring()
    }
  }

  /// Looks at one word of a page: each time at another one.
  @inline(__always)
  private func check(_ page: Int, _ block: UInt64, at word: Int) {
    let place = word &* 8
    precondition(
      memory.load(UInt64.self, at: page * Self.blockByteCount + place) == Self.word(of: block, at: place),
      "what was read is another block's")
  }
}
