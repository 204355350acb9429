// SPDX-License-Identifier: Apache-2.0
import DMACore
import DriverCore
import Foundation
import LinuxHandles
import NVMeDriver
import PCIBus
import TestSupport
import Testing

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
  func write(byteCount: Int, seed: UInt64) throws -> WordSum {
    var sum = WordSum()
    var seed = seed
    try forEachPiece(byteCount) { queue, memory, block, count in
      // SAFETY: no command has the memory now.
      let bytes = unsafe UnsafeMutableRawBufferPointer(start: memory.address, count: memory.byteCount)
      unsafe WordSum.fill(bytes, seed: &seed)
      unsafe sum.add(UnsafeRawBufferPointer(bytes))
      try queue.write(namespace, at: block, count: count, from: memory)
    }
    return sum
  }

  func read(byteCount: Int) throws -> WordSum {
    var sum = WordSum()
    try forEachPiece(byteCount) { queue, memory, block, count in
      try queue.read(namespace, at: block, count: count, into: memory)
      // SAFETY: as above.
      unsafe sum.add(UnsafeRawBufferPointer(start: memory.address, count: memory.byteCount))
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

  func read(byteCount: Int) throws -> WordSum {
    var sum = WordSum()
    let file = try OwnedDescriptor.open(path, for: .read)
    var words = [UInt64](repeating: 0, count: 1 << 17)
    for piece in 0..<(byteCount >> 20) {
      var span = words.mutableSpan
      var bytes = unsafe span.mutableBytes
      #expect(try file.read(into: &bytes, atFileOffset: UInt64(piece) << 20) == 1 << 20)
      unsafe words.withUnsafeBytes { unsafe sum.add($0) }
    }
    return sum
  }

  /// Lends it to userspace again.
  func giveBack() throws { try DriverBinding().bind([address]) }
}
