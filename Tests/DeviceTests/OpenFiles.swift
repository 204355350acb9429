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
