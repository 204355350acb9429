// SPDX-License-Identifier: Apache-2.0
import DMACore
import DriverCore
import LinuxHandles
import NVMeDriver
import Synchronization
import Testing

extension NVMeStand {
  func read(_ waiting: NVMeWaiting) throws {
    var queue = try controller.makeQueuePair(depth: 8, waiting: waiting)
    let memory = try memory(64 << 10)
    for round in 0..<20 {
      try queue.read(namespace, at: UInt64(round), count: blocks(64 << 10), into: memory)
    }
    let isIdle = queue.isIdle
    #expect(isIdle)
  }

  /// A full queue says so; completions come in any order, each once, with its tag.
  func readInBatches() throws {
    var queue = try controller.makeQueuePair(depth: 32)
    let depth = queue.depth
    #expect(depth >= 32)
    let memory = try memory(depth * 4096)
    for round in 0..<8 {
      for index in 0..<depth {
        let command = NVMeCommand(
          .read, namespaceID: 1, block: UInt64(index), count: UInt32(blocks(4096)))
        let isIn = queue.submit(
          command, moving: 4096, at: memory.iova(at: index * 4096), tag: UInt64(round * 100 + index))
        #expect(isIn)
      }
      let isIn = queue.submit(NVMeCommand(.flush, namespaceID: 1))
      #expect(!isIn, "the queue is full")
      var tags: [UInt64] = []
      try queue.drain(until: Deadline(.seconds(60))) { completion in
        tags.append(completion.tag)
        if !completion.status.isSuccess { Issue.record("\(completion)") }
      }
      #expect(tags.sorted() == (0..<depth).map { UInt64(round * 100 + $0) })
    }
  }

  func readBesideOneAnother() throws {
    var first = try controller.makeQueuePair(depth: 2)
    var second = try controller.makeQueuePair(depth: 200)
    let memory = try memory(4096)
    for _ in 0..<300 {
      try first.read(namespace, at: 0, count: 1, into: memory)
      try second.read(namespace, at: 1, count: 1, into: memory)
    }
  }

  /// One queue pair per thread, and no lock.
  func readOnSeveralThreads() throws {
    let failures = Mutex<[String]>([])
    let count = min(controller.queuePairCount, 4)
    try withThreads(count) { index in
      do {
        var queue = try controller.makeQueuePair(depth: 16, waiting: index % 2 == 0 ? .polling : .interrupts)
        let memory = try memory(16 << 10)
        for round in 0..<50 {
          try queue.read(namespace, at: UInt64(round), count: blocks(16 << 10), into: memory)
        }
      } catch {
        failures.withLock { $0.append("\(error)") }
      }
    }
    #expect(failures.withLock { $0 } == [])
  }

  private func withThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) throws {
    guard count > 0 else { return }
    let thread = try OwnedThread { body(count) }
    try withThreads(count - 1, body)
    _ = consume thread
  }

  func readAsynchronously() async throws {
    let queue = try NVMeAsyncQueue(on: controller, depth: 4)
    let (namespace, stand) = (namespace, self)
    // More tasks than the queue holds commands.
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<32 {
        group.addTask {
          let memory = try stand.memory(8192)
          for round in 0..<5 {
            try await queue.read(
              namespace, at: UInt64(index + round), count: stand.blocks(8192), into: memory)
          }
        }
      }
      try await group.waitForAll()
    }
    let memory = try memory(4096)
    do throws(NVMeError) {
      try await queue.read(namespace, at: namespace.blockCount, count: 1, into: memory)
      Issue.record("a read beyond the end")
    } catch {
      #expect(error.code == .outOfRange)
    }
  }

  // MARK: What is refused

  func refuseBlocksBeyondTheEnd() throws {
    var queue = try controller.makeQueuePair(depth: 2)
    let memory = try memory(8192)
    let end = namespace.blockCount
    for (block, count) in [(end, 1), (end - 1, 2), (.max, 1), (0, 0), (0, -1), (end - 1, Int.max)] {
      let error = failure { () throws(NVMeError) in
        try queue.read(namespace, at: block, count: count, into: memory)
      }
      #expect(error?.code == .outOfRange && error?.command == .read, "\(block), \(count)")
    }
    // More than the memory holds.
    for (count, byteOffset) in [(blocks(8192) + 1, 0), (1, 8192), (1, -4), (blocks(8192), 4)] {
      let error = failure { () throws(NVMeError) in
        try queue.read(namespace, at: 0, count: count, into: memory, byteOffset: byteOffset)
      }
      #expect(error?.code == .outOfRange, "\(count) at \(byteOffset)")
    }
    try queue.read(namespace, at: end - 1, count: 1, into: memory)
  }

  func letTheControllerRefuse() throws {
    var queue = try controller.makeQueuePair(depth: 2)
    let memory = try memory(4096)
    queue.submit(
      NVMeCommand(.read, namespaceID: 1, block: namespace.blockCount, count: 1), moving: blockByteCount,
      at: memory.iova, tag: 9)
    queue.ring()
    var seen: [NVMeCompletion] = []
    try queue.drain(until: Deadline(.seconds(60))) { seen.append($0) }
    #expect(seen.count == 1 && seen[0].tag == 9)
    #expect(seen[0].status.reason == .rangeBeyondNamespace, "\(seen[0].status)")
    #expect("\(seen[0].status)".hasPrefix("LBA out of range (type 0, code 0x80)"))
  }

  func refuseMisalignedMemory() throws {
    var queue = try controller.makeQueuePair(depth: 2)
    let memory = try memory(8192)
    for byteOffset in [1, 2, 3, 4095] {
      let error = failure { () throws(NVMeError) in
        try queue.read(namespace, at: 0, count: 1, into: memory, byteOffset: byteOffset)
      }
      #expect(error?.code == .misaligned, "byte \(byteOffset)")
    }
    let read = NVMeCommand(.read, namespaceID: 1, block: 0, count: UInt32(blocks(4096)))
    for segments in [
      [NVMeSegment(memory.iova, byteCount: 1024), NVMeSegment(memory.iova(at: 4096), byteCount: 3072)],
      [NVMeSegment(memory.iova, byteCount: 4096), NVMeSegment(memory.iova(at: 4100), byteCount: 512)],
      [NVMeSegment(memory.iova, byteCount: 0)], [],
    ] {
      let error = failure { () throws(NVMeError) in
        _ = try queue.submit(read, moving: segments, named: .regionPages)
      }
      #expect(error?.code == .misaligned)
    }
    let isIdle = queue.isIdle
    #expect(isIdle)
  }
}
