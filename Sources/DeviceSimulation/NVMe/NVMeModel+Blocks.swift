// SPDX-License-Identifier: Apache-2.0
internal import DMACore

extension NVMeModel {
  /// Does a command of an I/O queue.
  func doBlocks(_ command: NVMeModelCommand, ofQueue id: Int, _ state: inout State) {
    var status = NVMeModelStatus.success
    if let index = state.injections.firstIndex(where: { $0.opcode == command.opcode }) {
      status = NVMeModelStatus(rawValue: state.injections[index].status)
      state.injections[index].count -= 1
      if state.injections[index].count == 0 { state.injections.remove(at: index) }
    } else {
      do throws(NVMeModelStatus) {
        try doBlocks(command, &state)
      } catch {
        status = error
      }
    }
    complete(command, ofQueue: id, status, &state)
  }

  private func doBlocks(_ command: NVMeModelCommand, _ state: inout State) throws(NVMeModelStatus) {
    if command.opcode == 0x00, command.namespaceID == .max {
      state.counts.flushes += 1
      return
    }
    let namespace = try activeNamespace(command.namespaceID, state)
    switch command.opcode {
    case 0x00: state.counts.flushes += 1
    case 0x01: try write(command, namespace, &state)
    case 0x02: try read(command, namespace, &state)
    case 0x05: try compare(command, namespace, state)
    case 0x08:
      let (start, byteCount) = try range(command.block, command.blockCount, of: namespace)
      namespace.store.clear(start, byteCount)
    case 0x09: try deallocate(command, namespace, state)
    default: throw .invalidOpcode
    }
  }

  func activeNamespace(_ id: UInt32, _ state: State) throws(NVMeModelStatus) -> Namespace {
    guard id >= 1, id <= state.namespaces.count else { throw .invalidNamespace }
    let namespace = state.namespaces[Int(id) - 1]
    // The specification has "invalid field" for a namespace that is there and not active.
    guard namespace.isActive else { throw .invalidField }
    return namespace
  }

  private func range(
    _ block: UInt64, _ count: UInt64, of namespace: Namespace
  ) throws(NVMeModelStatus) -> (start: Int, byteCount: Int) {
    guard count <= namespace.blockCount, block <= namespace.blockCount - count else {
      throw .rangeBeyondNamespace
    }
    return (Int(block) << namespace.shift, Int(count) << namespace.shift)
  }

  private func transfer(
    _ command: NVMeModelCommand, _ namespace: Namespace, _ state: State
  ) throws(NVMeModelStatus) -> (start: Int, pieces: [NVMeDataWalk.Piece], port: any DevicePort) {
    let (start, byteCount) = try range(command.block, command.blockCount, of: namespace)
    guard let port = state.port else { throw .transferError }
    guard byteCount <= options.longestTransfer,
      options.hasScatterGatherLists || !command.usesDescriptors
    else { throw .invalidField }
    return (start, try NVMeDataWalk(command, byteCount, through: port).pieces, port)
  }

  private func read(
    _ command: NVMeModelCommand, _ namespace: Namespace, _ state: inout State
  ) throws(NVMeModelStatus) {
    var (place, pieces, port) = try transfer(command, namespace, state)
    state.counts.reads += 1
    state.counts.unitsRead += command.blockCount << UInt64(namespace.shift - 9)
    for piece in pieces {
      let isDone = namespace.store.withBytes(place, piece.byteCount) { bytes in
        port.writeMemory(bytes, at: piece.iova)
      }
      guard isDone else { throw .transferError }
      if state.misbehaviour == .corruptedRead {
        let byte: [UInt8] = namespace.store.withBytes(place, 1) {
          [unsafe $0.unsafeLoad(fromByteOffset: 0, as: UInt8.self) ^ 0x10]
        }
        _ = unsafe port.writeMemory(byte.span.bytes, at: piece.iova)
      }
      place += piece.byteCount
    }
  }

  private func write(
    _ command: NVMeModelCommand, _ namespace: Namespace, _ state: inout State
  ) throws(NVMeModelStatus) {
    var (place, pieces, port) = try transfer(command, namespace, state)
    state.counts.writes += 1
    state.counts.unitsWritten += command.blockCount << UInt64(namespace.shift - 9)
    for piece in pieces {
      let isDone = namespace.store.withMutableBytes(place, piece.byteCount) { bytes in
        port.readMemory(at: piece.iova, into: &bytes)
      }
      guard isDone else { throw .transferError }
      place += piece.byteCount
    }
  }

  private func compare(
    _ command: NVMeModelCommand, _ namespace: Namespace, _ state: State
  ) throws(NVMeModelStatus) {
    var (place, pieces, port) = try transfer(command, namespace, state)
    for piece in pieces {
      guard let bytes = port.readBytes(at: piece.iova, byteCount: piece.byteCount) else {
        throw .transferError
      }
      let isEqual = namespace.store.withBytes(place, piece.byteCount) { stored in
        bytes.indices.allSatisfy {
          unsafe stored.unsafeLoad(fromByteOffset: $0, as: UInt8.self) == bytes[$0]
        }
      }
      guard isEqual else { throw .compareFailure }
      place += piece.byteCount
    }
  }

  /// Deallocated blocks read as zero.
  private func deallocate(
    _ command: NVMeModelCommand, _ namespace: Namespace, _ state: State
  ) throws(NVMeModelStatus) {
    guard let port = state.port else { throw .transferError }
    let count = Int(command.word10 & 0xff) + 1
    let walk = try NVMeDataWalk(command, 16 * count, through: port)
    var list: [UInt8] = []
    for piece in walk.pieces {
      guard let bytes = port.readBytes(at: piece.iova, byteCount: piece.byteCount) else {
        throw .transferError
      }
      list += bytes
    }
    guard command.word11 & 4 != 0 else { return }
    for entry in 0..<count {
      let words = (0..<4).map { word in
        (0..<4).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64(list[16 * entry + 4 * word + $1]) }
      }
      let (start, byteCount) = try range(words[2] | words[3] << 32, words[1], of: namespace)
      namespace.store.clear(start, byteCount)
    }
  }
}
