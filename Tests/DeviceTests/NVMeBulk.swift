// SPDX-License-Identifier: Apache-2.0
import DMACore
import DriverCore
import Foundation
import LinuxHandles
import NVMeDriver
import PCIBus
import Testing

/// A sum of bytes that notices when two of them change places (FNV-1a of 64-bit words).
struct Checksum: Hashable {
  private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325
  mutating func add(_ word: UInt64) { value = (value ^ word) &* 0x100_0000_01b3 }
}

/// Long writes and reads of namespace 1, in pieces.
struct NVMeBulk {
  private let controller: NVMeController
  private let namespace: NVMeNamespace
  private static let pieceByteCount = 1 << 20

  init(_ controller: NVMeController) throws {
    self.controller = controller
    namespace = try controller.namespace(1)
  }

  /// Writes words that look random from the beginning on.
  func write(byteCount: Int, seed: UInt64) throws -> Checksum {
    var sum = Checksum()
    var word = seed
    try forEachPiece(byteCount) { queue, memory, block, count in
      for place in stride(from: 0, to: Self.pieceByteCount, by: 8) {
        word = word &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        memory.store(word, at: place)
        sum.add(word)
      }
      try queue.write(namespace, at: block, count: count, from: memory)
    }
    return sum
  }

  func read(byteCount: Int) throws -> Checksum {
    var sum = Checksum()
    try forEachPiece(byteCount) { queue, memory, block, count in
      try queue.read(namespace, at: block, count: count, into: memory)
      for place in stride(from: 0, to: Self.pieceByteCount, by: 8) {
        sum.add(memory.load(UInt64.self, at: place))
      }
    }
    return sum
  }

  private func forEachPiece(
    _ byteCount: Int, _ body: (inout NVMeQueuePair, borrowing DMAMemory, UInt64, Int) throws -> Void
  ) throws {
    var queue = try controller.makeQueuePair(depth: 8)
    let memory = try controller.expose(UnsharedMemory(byteCount: Self.pieceByteCount), access: .readWrite)
    let count = Self.pieceByteCount >> namespace.blockShift
    for piece in 0..<(byteCount / Self.pieceByteCount) {
      try body(&queue, memory, UInt64(piece * count), count)
    }
    try queue.flush(namespace)
  }
}

/// A namespace as the kernel's own driver shows it: a block device.
struct NVMeBlockDevice {
  private let address: PCIAddress
  private let path: String

  /// Gives the function to the kernel's driver, and waits for the block device.
  init(_ address: PCIAddress) throws {
    self.address = address
    try DriverBinding().restore([address])
    path = try Self.find(address)
  }

  private static func find(_ address: PCIAddress) throws -> String {
    let deadline = Deadline(.seconds(20))
    while true {
      let folder = "/sys/bus/pci/devices/\(address)/nvme"
      let controllers = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
      for controller in controllers {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "\(folder)/\(controller)")) ?? []
        if let name = names.first(where: { $0.hasPrefix("nvme") && $0.contains("n1") }),
          FileManager.default.fileExists(atPath: "/dev/\(name)")
        {
          return "/dev/\(name)"
        }
      }
      try #require(!deadline.isOver, "the kernel's driver shows no block device of \(address)")
      usleep(10_000)
    }
  }

  func read(byteCount: Int) throws -> Checksum {
    var sum = Checksum()
    let file = try OwnedDescriptor.open(path, for: .read)
    var words = [UInt64](repeating: 0, count: 1 << 17)
    for piece in 0..<(byteCount >> 20) {
      var span = words.mutableSpan
      var bytes = unsafe span.mutableBytes
      #expect(try file.read(into: &bytes, atFileOffset: UInt64(piece) << 20) == 1 << 20)
      for word in words { sum.add(word) }
    }
    return sum
  }

  /// Lends it to userspace again.
  func giveBack() throws { try DriverBinding().bind([address]) }
}
