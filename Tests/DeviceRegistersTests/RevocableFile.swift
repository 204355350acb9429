// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import Foundation
import LinuxHandles

/// A file of some pages in the place of a dma-buf: cut short, it raises SIGBUS in whoever has it mapped, as the kernel
/// does when it takes a device's registers away.
final class RevocableFile: Sendable {
  let path = "/tmp/swift-vfio-\(UUID().uuidString)"
  let file: OwnedDescriptor
  let byteCount: Int

  init(pageCount: Int = 2) throws {
    byteCount = pageCount * 4096
    file = OwnedDescriptor(adopting: unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600))
    unsafe unlink(path)
    give()
  }

  /// Takes the registers away.
  func revoke() { precondition(ftruncate(file.rawValue, 0) == 0) }

  /// Gives them back, all zero.
  func give() { precondition(ftruncate(file.rawValue, off_t(byteCount)) == 0) }

  func dmaBuf() throws(KernelError) -> DMABuf { try DMABuf(adopting: file.duplicate()) }

  /// A 32-bit word of the file.
  subscript(byteOffset: Int) -> UInt32 {
    get {
      var word: UInt32 = 0
      let count = unsafe pread(file.rawValue, &word, 4, off_t(byteOffset))
      precondition(count == 4, "a word of the file")
      return word
    }
    set {
      var word = newValue
      precondition(unsafe pwrite(file.rawValue, &word, 4, off_t(byteOffset)) == 4)
    }
  }
}
