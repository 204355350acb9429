// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles

/// The bytes of a namespace: memory, or a file that is mapped.
@safe
final class NVMeStore: @unchecked Sendable {
  private let memory: MappedMemory

  init(_ namespace: NVMeModelOptions.Namespace) throws(KernelError) {
    let byteCount = Int(namespace.blockCount << UInt64(namespace.blockShift))
    let whole = (byteCount + 4095) & ~4095
    if let path = namespace.path {
      let file = try OwnedDescriptor.open(path, for: .readWrite)
      memory = try .sharing(file, offset: 0, byteCount: whole)
    } else {
      memory = try .anonymous(byteCount: whole)
    }
  }

  /// Where the first byte lies, as long as this object lives.
  @unsafe var baseAddress: UnsafeMutableRawPointer { unsafe memory.baseAddress }

  private func checked(_ start: Int, _ byteCount: Int) -> UnsafeMutableRawPointer {
    precondition(
      start >= 0 && byteCount >= 0 && start <= memory.byteCount - byteCount, "inside the namespace")
    return unsafe memory.baseAddress + start
  }

  /// Lets the device's side of the bus have bytes.
  func withBytes<Value>(_ start: Int, _ byteCount: Int, _ body: (RawSpan) -> Value) -> Value {
    // SAFETY: inside the mapping, which this object keeps; the model's turn keeps others away.
    let bytes = unsafe UnsafeRawBufferPointer(start: checked(start, byteCount), count: byteCount)
    return body(unsafe bytes.bytes)
  }

  /// Lets the device's side of the bus fill bytes.
  func withMutableBytes<Value>(
    _ start: Int, _ byteCount: Int, _ body: (inout MutableRawSpan) -> Value
  ) -> Value {
    // SAFETY: as above.
    let bytes = unsafe UnsafeMutableRawBufferPointer(start: checked(start, byteCount), count: byteCount)
    var span = unsafe bytes.mutableBytes
    return body(&span)
  }

  /// Sets bytes to zero.
  func clear(_ start: Int, _ byteCount: Int) {
    unsafe checked(start, byteCount).initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
  }
}
