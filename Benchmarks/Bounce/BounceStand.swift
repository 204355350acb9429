// SPDX-License-Identifier: Apache-2.0
internal import CTwinsBounce
internal import LinuxHandles
internal import SoftwareIOTLB
internal import Synchronization

/// A domain with a window, buffers to map, and memory for the bare copies: for one thread.
final class BounceStand: Sendable {
  /// Of a loop that is counted.
  static let operations: UInt32 = 2_000

  private let owner: IOTLBDomain
  private let lent: Mutex<BounceWindow>
  private let buffers: MappedMemory
  private let bounced: MappedMemory

  /// - Parameter byteCount: Of the buffers.
  init(byteCount: Int) throws(KernelError) {
    owner = try IOTLBDomain()
    lent = Mutex(try owner.lendWindow(byteCount: 1 << 20))
    buffers = try .anonymous(byteCount: byteCount)
    // Memory of the same kind as the bounce pages: a part of the file that no mapping uses here.
    bounced = try .sharing(owner.file.duplicate(), offset: 32 << 20, byteCount: byteCount)
    unsafe buffers.baseAddress.initializeMemory(as: UInt8.self, repeating: 1, count: byteCount)
    unsafe bounced.baseAddress.initializeMemory(as: UInt8.self, repeating: 1, count: byteCount)
  }

  func window(_ byteCount: Int, _ direction: DMADirection, buffers count: Int, _ times: UInt32) -> UInt64 {
    lent.withLock { unsafe bounceWindow(&$0, buffers.baseAddress, count, byteCount, direction, times) }
      | 1  // what came from a device that wrote nothing is zero
  }

  func domain(_ byteCount: Int, _ direction: DMADirection, buffers count: Int, _ times: UInt32) -> UInt64 {
    unsafe bounceDomain(owner, buffers.baseAddress, count, byteCount, direction, times) | 1
  }

  func twin(_ byteCount: Int, _ direction: DMADirection, buffers count: Int, _ times: UInt32) -> UInt64 {
    let base = unsafe buffers.baseAddress.assumingMemoryBound(to: UInt8.self)
    let other = unsafe bounced.baseAddress.assumingMemoryBound(to: UInt8.self)
    return direction == .toDevice
      ? unsafe twin_copy_to_device(other, base, byteCount, UInt32(count), times) | 1
      : unsafe twin_copy_from_device(base, other, byteCount, UInt32(count), times) | 1
  }
}
