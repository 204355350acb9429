// SPDX-License-Identifier: Apache-2.0
public import DMACore
internal import DriverCore
internal import LinuxHandles

/// Commands that are waited for, one call each; the queue pair must be idle.
///
/// A command that takes longer than the controller's patience is aborted, and where that does not help the controller is
/// reset: when a call returns or throws, the memory is the caller's again. Only an error of code `.notStopped` says
/// otherwise: then it must not be reclaimed before the function was reset, where no IOMMU keeps the device off.
extension NVMeQueuePair {
  /// Reads blocks into memory; longer transfers than one command's are split.
  /// - Parameters:
  ///   - block: The first.
  ///   - count: How many; at least 1.
  ///   - byteOffset: Where in the memory; a multiple of 4.
  /// - Throws: `NVMeError`: `.outOfRange` beyond the namespace or the memory, `.misaligned`; `.commandFailed` with the
  ///   status; `.timedOut` after an abort or a reset; see ``wait(until:_:)``.
  public mutating func read(
    _ namespace: NVMeNamespace, at block: UInt64, count: Int, into memory: borrowing DMAMemory,
    byteOffset: Int = 0
  ) throws(NVMeError) {
    let transfer = try NVMeTransfer(.read, namespace, block, count)
    let iova = try transfer.iova(in: memory, byteOffset: byteOffset)
    // Parts that the device does not write must come back as they are.
    memory.syncForDevice()
    try run(transfer, at: iova)
    memory.syncForCPU()
  }

  /// Writes blocks from memory; parameters and errors as for ``read(_:at:count:into:byteOffset:)``.
  public mutating func write(
    _ namespace: NVMeNamespace, at block: UInt64, count: Int, from memory: borrowing DMAMemory,
    byteOffset: Int = 0
  ) throws(NVMeError) {
    let transfer = try NVMeTransfer(.write, namespace, block, count)
    let iova = try transfer.iova(in: memory, byteOffset: byteOffset)
    memory.syncForDevice()
    try run(transfer, at: iova)
  }

  /// Compares blocks with memory; parameters and errors as for ``read(_:at:count:into:byteOffset:)``.
  /// - Returns: Whether they are equal.
  public mutating func compare(
    _ namespace: NVMeNamespace, at block: UInt64, count: Int, with memory: borrowing DMAMemory,
    byteOffset: Int = 0
  ) throws(NVMeError) -> Bool {
    let transfer = try NVMeTransfer(.compare, namespace, block, count)
    let iova = try transfer.iova(in: memory, byteOffset: byteOffset)
    memory.syncForDevice()
    do throws(NVMeError) {
      try run(transfer, at: iova)
      return true
    } catch {
      guard error.status?.reason == .compareFailure else { throw error }
      return false
    }
  }

  /// Reads blocks into memory that no device reaches yet: it is exposed for this call, and comes back.
  /// - Parameter memory: Where an error is thrown, it is freed once the controller is done with it.
  public mutating func read(
    _ namespace: NVMeNamespace, at block: UInt64, count: Int, into memory: consuming UnsharedMemory
  ) throws(NVMeError) -> UnsharedMemory {
    let exposed = try expose(memory, .readWrite)
    try read(namespace, at: block, count: count, into: exposed)
    return try takeBack(exposed)
  }

  /// Writes blocks from memory that no device reaches yet, as the reading call does.
  public mutating func write(
    _ namespace: NVMeNamespace, at block: UInt64, count: Int, from memory: consuming UnsharedMemory
  ) throws(NVMeError) -> UnsharedMemory {
    let exposed = try expose(memory, .read)
    try write(namespace, at: block, count: count, from: exposed)
    return try takeBack(exposed)
  }

  private func expose(
    _ memory: consuming UnsharedMemory, _ access: DMAAccess
  ) throws(NVMeError) -> DMAMemory {
    guard let space = resources.controller?.space else {
      preconditionFailure("users have no queue pair of the admin queues")
    }
    do throws(KernelError) {
      return try space.expose(memory, access: access)
    } catch {
      throw NVMeError(DriverError(error))
    }
  }

  private func takeBack(_ memory: consuming DMAMemory) throws(NVMeError) -> UnsharedMemory {
    do throws(KernelError) {
      return try memory.reclaim()
    } catch {
      throw NVMeError(DriverError(error))
    }
  }

  /// Makes all writes that ended durable.
  public mutating func flush(_ namespace: NVMeNamespace) throws(NVMeError) {
    try run(NVMeCommand(.flush, namespaceID: namespace.id), .flush)
  }

  /// Sets blocks to zero, without a transfer.
  /// - Parameter count: 1 to 65536.
  /// - Throws: `NVMeError`: `.unsupported` where the controller has no such command.
  public mutating func writeZeroes(
    _ namespace: NVMeNamespace, at block: UInt64, count: Int
  ) throws(NVMeError) {
    try require(\.canWriteZeroes, .writeZeroes)
    try namespace.check(block, count, .writeZeroes)
    guard count <= 65536 else {
      throw NVMeError(.outOfRange, "\(count) blocks at once", during: .writeZeroes)
    }
    try run(
      NVMeCommand(.writeZeroes, namespaceID: namespace.id, block: block, count: UInt32(count)), .writeZeroes)
  }

  /// Tells the controller that the contents of blocks are not needed any more (Dataset Management, deallocate).
  /// - Parameters:
  ///   - ranges: 1 to 256 of them.
  ///   - memory: A page of it is used for the list.
  /// - Throws: `NVMeError`: `.unsupported` where the controller has no such command.
  public mutating func deallocate(
    _ namespace: NVMeNamespace, _ ranges: [Range<UInt64>], listing memory: borrowing DMAMemory
  ) throws(NVMeError) {
    try require(\.canDeallocate, .datasetManagement)
    guard (1...256).contains(ranges.count) else {
      throw NVMeError(.outOfRange, "\(ranges.count) ranges in one command", during: .datasetManagement)
    }
    for (index, range) in ranges.enumerated() {
      guard let count = UInt32(exactly: range.count) else {
        throw NVMeError(.outOfRange, "a range of \(range.count) blocks", during: .datasetManagement)
      }
      try namespace.check(range.lowerBound, Int(count), .datasetManagement)
      memory.store(UInt64(count) << 32, at: 16 * index)
      memory.store(range.lowerBound, at: 16 * index + 8)
    }
    memory.syncForDevice()
    var command = NVMeCommand(
      .datasetManagement, namespaceID: namespace.id, word10: UInt32(ranges.count - 1), word11: 1 << 2)
    command.setPages(memory.iova.rawValue, 0)
    try run(command, .datasetManagement)
  }

  private func require(
    _ isThere: (NVMeIdentity) -> Bool, _ opcode: NVMeOpcode
  ) throws(NVMeError) {
    guard let identity = resources.controller?.identity, isThere(identity) else {
      throw NVMeError(.unsupported, "the controller has no such command", during: opcode)
    }
  }

  // MARK: Running

  private mutating func run(_ transfer: NVMeTransfer, at iova: IOVA) throws(NVMeError) {
    try run(transfer) { queue, part in
      queue.submit(
        part.command, moving: part.bytes.count, at: iova.advanced(byByteCount: part.bytes.lowerBound))
    }
  }

  /// Moves all blocks, with as many commands on their way as the queue holds.
  /// - Parameter submit: Whether it submitted the part: no where the queue is full.
  /// - Throws: What `submit` threw; see ``run(_:_:)``.
  mutating func run(
    _ transfer: NVMeTransfer,
    _ submit: (inout NVMeQueuePair, NVMeTransfer.Part) throws(NVMeError) -> Bool
  ) throws(NVMeError) {
    let longest = resources.controller?.maximumTransfer ?? 4096
    var next = 0
    var refusal: NVMeError?
    try run(transfer.opcode) { queue in
      guard next < transfer.count else { return false }
      let part = transfer.part(from: next, longest: longest)
      do throws(NVMeError) {
        guard try submit(&queue, part) else { return false }
      } catch {
        refusal = error
        return false
      }
      next = part.blocks.upperBound
      return true
    }
    if let refusal { throw refusal }
  }

  private mutating func run(_ command: NVMeCommand, _ opcode: NVMeOpcode) throws(NVMeError) {
    var isNext = true
    try run(opcode) { queue in
      defer { isNext = false }
      return isNext && queue.submit(command)
    }
  }

  /// Submits commands until there are no more, and waits for all.
  /// - Parameter submitNext: Whether it submitted one: no where none is left or the queue is full.
  /// - Throws: The first failure; the others are waited for all the same.
  mutating func run(
    _ opcode: NVMeOpcode, _ submitNext: (inout NVMeQueuePair) -> Bool
  ) throws(NVMeError) {
    precondition(isIdle, "a call that waits has the queue pair for itself")
    var onTheirWay = 0
    var failure: NVMeError?
    func note(_ completion: NVMeCompletion) {
      if failure == nil, !completion.status.isSuccess {
        failure = NVMeError(opcode, endedWith: completion.status)
      }
    }
    do throws(NVMeError) {
      while true {
        while failure == nil, submitNext(&self) { onTheirWay += 1 }
        if onTheirWay == 0 { break }
        ring()
        let patience = resources.controller?.admin.patience ?? .zero
        onTheirWay -= try wait(until: Deadline(patience), note)
      }
    } catch {
      _ = try abandon(note)
      throw NVMeError(error.cause, during: opcode)
    }
    if let failure { throw failure }
  }
}
