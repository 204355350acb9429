// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore
import NVMeDriver
import Testing

extension NVMeStand {
  func writeAndRead(_ waiting: NVMeWaiting) throws {
    var queue = try controller.makeQueuePair(depth: 16, waiting: waiting)
    try writeAndRead(&queue)
  }

  private func writeAndRead(_ queue: inout NVMeQueuePair) throws {
    let source = try memory(128 << 10)
    let target = try memory(128 << 10)
    for byteCount in [blockByteCount, 8192, 12288, 128 << 10] {
      let seed = UInt32(byteCount >> 9)
      fill(source, seed: seed)
      fill(target, seed: ~seed)
      let block = UInt64(byteCount >> 9)
      try queue.write(namespace, at: block, count: blocks(byteCount), from: source)
      try queue.flush(namespace)
      try queue.read(namespace, at: block, count: blocks(byteCount), into: target)
      let wrong = difference(in: target, 0..<byteCount, seed: seed)
      #expect(wrong == nil, "\(byteCount) bytes")
      if byteCount < target.byteCount {
        let touched = difference(in: target, byteCount..<target.byteCount, seed: ~seed)
        #expect(touched == nil, "what was not read stays as it was")
      }
    }
  }

  func splitLongTransfers() throws {
    var queue = try controller.makeQueuePair(depth: 3)
    let byteCount = 2 << 20
    let source = try memory(byteCount)
    let target = try memory(byteCount)
    // Words are faster to fill than bytes.
    for place in stride(from: 0, to: byteCount, by: 8) {
      source.store(UInt64(place) &* 0x9e37_79b9_7f4a_7c15, at: place)
    }
    try queue.write(namespace, at: 3, count: blocks(byteCount), from: source)
    try queue.read(namespace, at: 3, count: blocks(byteCount), into: target)
    let wrong = stride(from: 0, to: byteCount, by: 8).first {
      target.load(UInt64.self, at: $0) != UInt64($0) &* 0x9e37_79b9_7f4a_7c15
    }
    #expect(wrong == nil)
  }

  /// Data may begin at any multiple of 4, and then take one page more.
  func moveUnalignedData() throws {
    var queue = try controller.makeQueuePair(depth: 4)
    let source = try memory(32 << 10)
    let target = try memory(32 << 10)
    fill(source, seed: 0x21)
    for byteOffset in [4, 2048, 4092] {
      for byteCount in [blockByteCount, 4096, 16384] {
        fill(target, seed: 0x77)
        try queue.write(namespace, at: 16, count: blocks(byteCount), from: source, byteOffset: byteOffset)
        try queue.read(namespace, at: 16, count: blocks(byteCount), into: target, byteOffset: byteOffset)
        let wrong = difference(in: target, byteOffset..<(byteOffset + byteCount), seed: 0x21)
        let touched = difference(in: target, 0..<byteOffset, seed: 0x77)
        #expect(wrong == nil && touched == nil, "\(byteCount) bytes at \(byteOffset)")
      }
    }
  }

  func moveUnsharedMemory() throws {
    var queue = try controller.makeQueuePair(depth: 4)
    var source = try UnsharedMemory(byteCount: 16384)
    var bytes = source.bytes
    for place in stride(from: 0, to: 16384, by: 4) {
      bytes.storeBytes(of: Self.word(place, 9), toByteOffset: place, as: UInt32.self)
    }
    _ = try queue.write(namespace, at: 64, count: blocks(16384), from: source)
    var target = try queue.read(
      namespace, at: 64, count: blocks(16384), into: UnsharedMemory(byteCount: 16384))
    let seen = target.bytes
    var wrong: Int?
    for place in stride(from: 0, to: 16384, by: 4) where wrong == nil {
      let word = unsafe seen.unsafeLoad(fromByteOffset: place, as: UInt32.self)
      if word != Self.word(place, 9) { wrong = place }
    }
    #expect(wrong == nil)
  }

  /// Pieces in another order than they lie in memory, by both kinds of names.
  func moveScatteredData() throws {
    var queue = try controller.makeQueuePair(depth: 4)
    let source = try memory(32768)
    let target = try memory(32768)
    for names in [NVMeDataNames.regionPages, .scatterGatherList] {
      if names == .scatterGatherList && !controller.identity.hasScatterGatherLists { continue }
      for pages in [[3], [5, 2], [7, 1, 4, 0, 6]] {
        let seed = UInt32(pages.count * 16)
        fill(source, seed: seed)
        fill(target, seed: ~seed)
        for (opcode, iova) in [(NVMeOpcode.write, source.iova), (.read, target.iova)] {
          let segments = pages.map {
            NVMeSegment(iova.advanced(byByteCount: $0 * 4096), byteCount: 4096)
          }
          source.syncForDevice()
          target.syncForDevice()
          let count = UInt32(blocks(4096 * pages.count))
          let isIn = try queue.submit(
            NVMeCommand(opcode, namespaceID: 1, block: 128, count: count), moving: segments, named: names)
          #expect(isIn)
          queue.ring()
          try queue.drain(until: Deadline(.seconds(60))) { completion in
            if !completion.status.isSuccess { Issue.record("\(opcode), \(names): \(completion)") }
          }
          target.syncForCPU()
        }
        for page in 0..<8 {
          let wrong = difference(
            in: target, page * 4096..<(page + 1) * 4096, seed: pages.contains(page) ? seed : ~seed)
          #expect(wrong == nil, "page \(page) of \(pages), \(names)")
        }
      }
    }
  }

  func compareBlocks() throws {
    guard controller.identity.canCompare else { return }
    var queue = try controller.makeQueuePair(depth: 4)
    let memory = try memory(8192)
    fill(memory, seed: 1)
    try queue.write(namespace, at: 8, count: blocks(8192), from: memory)
    let isEqual = try queue.compare(namespace, at: 8, count: blocks(8192), with: memory)
    #expect(isEqual)
    memory.store(~Self.word(5000, 1), at: 5000)
    let isStillEqual = try queue.compare(namespace, at: 8, count: blocks(8192), with: memory)
    #expect(!isStillEqual)
  }

  func clearBlocks() throws {
    guard controller.identity.canWriteZeroes else { return }
    try clear { queue, memory in
      try queue.writeZeroes(namespace, at: 32, count: blocks(8192))
      let error = failure { () throws(NVMeError) in
        try queue.writeZeroes(namespace, at: namespace.blockCount, count: 1)
      }
      #expect(error?.code == .outOfRange && error?.command == .writeZeroes)
    }
  }

  func deallocateBlocks() throws {
    guard controller.identity.canDeallocate else { return }
    var queue = try controller.makeQueuePair(depth: 4)
    let memory = try memory(4096)
    try queue.deallocate(namespace, [32..<40, 64..<128], listing: memory)
    for ranges in [[], [namespace.blockCount..<(namespace.blockCount + 1)], [5..<5]] {
      let error = failure { () throws(NVMeError) in
        try queue.deallocate(namespace, ranges, listing: memory)
      }
      #expect(error?.code == .outOfRange && error?.command == .datasetManagement)
    }
  }

  private func clear(_ body: (inout NVMeQueuePair, borrowing DMAMemory) throws -> Void) throws {
    var queue = try controller.makeQueuePair(depth: 4)
    let memory = try memory(8192)
    fill(memory, seed: 3)
    try queue.write(namespace, at: 32, count: blocks(8192), from: memory)
    try body(&queue, memory)
    try queue.read(namespace, at: 32, count: blocks(8192), into: memory)
    let wrong = stride(from: 0, to: 8192, by: 8).first { memory.load(UInt64.self, at: $0) != 0 }
    #expect(wrong == nil)
  }

  func workFromTheControllersMemory() throws {
    guard controller.hasMemoryBuffer else { return }
    var queue = try controller.makeQueuePair(depth: 16, place: .controllerMemory)
    try writeAndRead(&queue)
  }
}
