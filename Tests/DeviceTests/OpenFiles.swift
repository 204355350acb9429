// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import DMACore
import DeviceRegisters
import DriverCore
import Foundation
import SystemPackage
import Testing

/// The kernel's own interface, past this library: for what the library does not let one ask.
enum OpenFiles {
  /// The descriptor of a file that this process has open once.
  static func descriptor(of path: String) throws -> CInt {
    let found = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").filter {
      (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")) == path
    }
    try #require(found.count == 1, "\(path) is open once: \(found)")
    return try #require(CInt(found[0]))
  }
}

enum DirtyPagesCall {
  /// Asks a container for the dirty pages from an address on; -errno.
  static func get(_ fd: CInt, _ start: IOVA, into words: inout [UInt64]) -> CInt {
    unsafe words.withUnsafeMutableBytes { bytes in
      var question = abi_vfio_iommu_type1_dirty_bitmap_get()
      question.iova = start.rawValue
      question.size = 4096
      question.bitmap = abi_vfio_bitmap(
        pgsize: 4096, size: UInt64(bytes.count), data: UInt64(UInt(bitPattern: bytes.baseAddress)))
      return unsafe abi_vfio_iommu_dirty_pages_get(fd, &question)
    }
  }
}

/// edu's DMA engine, by its registers.
struct EduTransfer: ~Copyable {
  private let window: RegisterWindow

  init(_ window: consuming RegisterWindow) { self.window = window }

  /// Where the device's own buffer begins.
  static var buffer: IOVA { IOVA(0x40000) }

  /// Copies out of the bus into the buffer.
  borrowing func load(from bus: IOVA, byteCount: Int) throws {
    try run(from: bus, to: Self.buffer, byteCount: byteCount, command: 1)
  }

  /// Copies out of the buffer onto the bus.
  borrowing func store(to bus: IOVA, byteCount: Int) throws {
    try run(from: Self.buffer, to: bus, byteCount: byteCount, command: 3)
  }

  private borrowing func run(from source: IOVA, to target: IOVA, byteCount: Int, command: UInt64) throws {
    window.store(source.rawValue, at: 0x80)
    window.store(target.rawValue, at: 0x88)
    window.store(UInt64(byteCount), at: 0x90)
    window.store(command, at: 0x98)
    try Deadline(.seconds(5)).poll("transfer") { window.load(UInt64.self, at: 0x98) & 1 == 0 }
  }
}
