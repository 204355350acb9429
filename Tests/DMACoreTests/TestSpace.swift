// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import Synchronization
import SystemPackage

/// An address space that only remembers what it was told, and fails when it is told to.
final class TestSpace: AddressSpace {
  let label = "test space"
  let granuleByteCount = 4096
  let reservations: IOVAReservations
  let log = Mutex<[String]>([])
  let failure = Mutex<(map: Errno?, unmap: Errno?)>((nil, nil))
  /// Where the pages mapped last lie in this process.
  let lastBase = Mutex<UInt>(0)

  init(allowed: [IOVARange] = [IOVARange(start: IOVA(0), last: IOVA((1 << 32) - 1))]) {
    reservations = IOVAReservations(allowed: allowed)
  }

  var entries: [String] { log.withLock { $0 } }

  @unsafe
  func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    if let errno = failure.withLock({ $0.map }) {
      throw KernelError(operation: "map", errno: errno, subject: "\(range)")
    }
    lastBase.withLock { $0 = UInt(bitPattern: base) }
    log.withLock { $0.append("map \(range)") }
  }

  func unmapPages(_ range: IOVARange) throws(KernelError) {
    if let errno = failure.withLock({ $0.unmap }) {
      throw KernelError(operation: "unmap", errno: errno, subject: "\(range)")
    }
    log.withLock { $0.append("unmap \(range)") }
  }

  func synchronize(_ range: IOVARange, _ direction: DMASyncDirection) {
    log.withLock { $0.append("\(direction) \(range)") }
  }
}
