// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DriverCore

/// Reads and writes of the caller's own memory: any bytes of the process, such as an array's.
///
/// They are mapped for the call and unmapped before it returns, in every case: by then the controller has completed or
/// aborted the commands, or was reset. Where not even the reset is certain (`.notStopped`), the IOMMU blocks what the
/// controller still tries; without an IOMMU nothing is lent. Nothing is copied but the parts of the first and the last
/// page that the bytes do not fill, since other data of the process lie there. Mapping costs more than a short copy:
/// ``NVMeController/expose(_:access:sharing:)`` once is faster for memory that is used again.
extension NVMeQueuePair {
  /// Reads blocks into memory of the caller's.
  /// - Parameters:
  ///   - block: The first.
  ///   - bytes: As long as the blocks are together; begins at a multiple of 4. Undefined where an error is thrown.
  /// - Throws: `NVMeError`: `.misaligned` for a length that is not of whole blocks, or another beginning;
  ///   `.outOfRange`, `.commandFailed` and others as for ``read(_:at:count:into:byteOffset:)``; for memory that the
  ///   kernel does not map: `EOPNOTSUPP` without an IOMMU, `ENOMEM` over the limit of locked memory.
  public mutating func read(
    _ namespace: NVMeNamespace, at block: UInt64, into bytes: inout MutableRawSpan
  ) throws(NVMeError) {
    try unsafe bytes.withUnsafeMutableBytes { buffer throws(NVMeError) in
      try unsafe run(.read, namespace, block, buffer, .write)
    }
  }

  /// Writes blocks from memory of the caller's; parameters and errors as for ``read(_:at:into:)``.
  public mutating func write(
    _ namespace: NVMeNamespace, at block: UInt64, from bytes: RawSpan
  ) throws(NVMeError) {
    try unsafe bytes.withUnsafeBytes { buffer throws(NVMeError) in
      // SAFETY: the controller may only read it.
      try unsafe run(.write, namespace, block, UnsafeMutableRawBufferPointer(mutating: buffer), .read)
    }
  }

  @unsafe
  private mutating func run(
    _ opcode: NVMeOpcode, _ namespace: NVMeNamespace, _ block: UInt64,
    _ bytes: UnsafeMutableRawBufferPointer, _ access: DMAAccess
  ) throws(NVMeError) {
    guard let controller = resources.controller else {
      preconditionFailure("users have no queue pair of the admin queues")
    }
    guard bytes.count & (namespace.blockByteCount - 1) == 0 else {
      throw NVMeError(.misaligned, "\(bytes.count) bytes are no whole blocks", during: opcode)
    }
    let transfer = try NVMeTransfer(opcode, namespace, block, bytes.count >> namespace.blockShift)
    let memory: NVMeBorrowedMemory
    do throws(NVMeError) {
      memory = try unsafe NVMeBorrowedMemory(bytes, in: controller.space)
    } catch {
      throw NVMeError(error.cause, during: opcode)
    }
    try memory.lend(access) { segments throws(NVMeError) in
      try run(transfer) { queue, part throws(NVMeError) in
        try queue.submit(part.command, moving: segments.part(part.bytes), named: .regionPages)
      }
    }
  }
}
