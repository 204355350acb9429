// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DriverCore

/// Blocks that a call moves, as commands that the controller takes; checked.
struct NVMeTransfer {
  let opcode: NVMeOpcode
  let namespace: NVMeNamespace
  let block: UInt64
  let count: Int

  init(
    _ opcode: NVMeOpcode, _ namespace: NVMeNamespace, _ block: UInt64, _ count: Int
  ) throws(NVMeError) {
    try namespace.check(block, count, opcode)
    try namespace.checkMetadata()
    self.opcode = opcode
    self.namespace = namespace
    self.block = block
    self.count = count
  }

  /// Where in memory the data are.
  /// - Throws: `NVMeError`: `.outOfRange` beyond the memory, `.misaligned`.
  func iova(in memory: borrowing DMAMemory, byteOffset: Int) throws(NVMeError) -> IOVA {
    guard byteOffset >= 0, byteOffset < memory.byteCount,
      count <= (memory.byteCount - byteOffset) >> namespace.blockShift
    else {
      throw NVMeError(
        .outOfRange, "\(count) blocks at byte \(byteOffset) of \(memory.byteCount)", during: opcode)
    }
    guard byteOffset & 3 == 0 else {
      throw NVMeError(.misaligned, "data at byte \(byteOffset), not a multiple of 4", during: opcode)
    }
    return memory.iova(at: byteOffset)
  }

  /// What one command moves.
  struct Part {
    let opcode: NVMeOpcode
    let command: NVMeCommand
    /// Its place in the transfer.
    let blocks: Range<Int>
    let bytes: Range<Int>
  }

  /// The longest part from one of its blocks on.
  /// - Parameter longest: What one command moves, in bytes.
  func part(from first: Int, longest: Int) -> Part {
    let shift = namespace.blockShift
    let blocks = first..<min(count, first + min(65536, max(1, longest >> shift)))
    return Part(
      opcode: opcode,
      command: NVMeCommand(
        opcode, namespaceID: namespace.id, block: block + UInt64(first), count: UInt32(blocks.count)),
      blocks: blocks, bytes: blocks.lowerBound << shift..<blocks.upperBound << shift)
  }
}

extension NVMeNamespace {
  /// - Throws: `NVMeError` of code `.unsupported` where blocks have more than their data.
  func checkMetadata() throws(NVMeError) {
    guard metadataByteCount == 0 else {
      throw NVMeError(.unsupported, "blocks with \(metadataByteCount) bytes of metadata")
    }
  }

  /// - Throws: `NVMeError` of code `.outOfRange` for blocks that it has not.
  func check(_ block: UInt64, _ count: Int, _ opcode: NVMeOpcode) throws(NVMeError) {
    guard count > 0, UInt64(count) <= blockCount, block <= blockCount - UInt64(count) else {
      throw NVMeError(
        .outOfRange, "\(count) blocks from \(block) of namespace \(id), which has \(blockCount)",
        during: opcode)
    }
  }
}
