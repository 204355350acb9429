// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import LinuxHandles

/// The answer of a call that grows with the kernel: a fixed head, then a chain of capabilities.
///
/// The chain comes from the kernel, yet it is walked as if it did not: every place is checked, and a walk
/// ends at a loop.
struct InfoBuffer {
  /// One link of the chain.
  struct Capability {
    let id: UInt16
    let byteOffset: Int
  }

  private let bytes: [UInt8]

  /// An answer that is here already.
  init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// Calls once with the head's size, and again with as much as the kernel then asks for (`argsz`).
  init(
    byteCount: Int, operation: StaticString, subject: @autoclosure () -> String,
    _ call: (UnsafeMutableRawPointer, UInt32) -> CInt
  ) throws(KernelError) {
    var bytes: [UInt8] = []
    var wanted = byteCount
    while wanted > bytes.count {
      bytes = [UInt8](repeating: 0, count: wanted)
      try kernelCall(operation, on: subject()) {
        unsafe bytes.withUnsafeMutableBytes { buffer in
          // SAFETY: `wanted` is at least the head's size, so the buffer has an address.
          unsafe call(buffer.baseAddress.unsafelyUnwrapped, UInt32(buffer.count))
        }
      }
      // All these answers begin with argsz; 64 KiB is far beyond any real one.
      let needed = unsafe bytes.withUnsafeBytes { unsafe $0.loadUnaligned(as: UInt32.self) }
      wanted = min(Int(needed), 1 << 16)
    }
    self.bytes = bytes
  }

  /// A plain C structure at a place, or nil where the answer is too short for it.
  func load<Value: BitwiseCopyable>(_ type: Value.Type, at byteOffset: Int) -> Value? {
    guard byteOffset >= 0, byteOffset <= bytes.count - MemoryLayout<Value>.size else { return nil }
    return unsafe bytes.withUnsafeBytes {
      unsafe $0.loadUnaligned(fromByteOffset: byteOffset, as: Value.self)
    }
  }

  /// The chain's links in order.
  func capabilities(from first: UInt32) -> [Capability] {
    var found: [Capability] = []
    var place = Int(first)
    while place > 0, found.count <= bytes.count / MemoryLayout<abi_vfio_info_cap_header>.size,
      let header = load(abi_vfio_info_cap_header.self, at: place)
    {
      found.append(Capability(id: header.id, byteOffset: place))
      if found.dropLast().contains(where: { $0.byteOffset == place }) { return found.dropLast() }
      place = Int(header.next)
    }
    return found
  }
}
