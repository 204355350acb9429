// SPDX-License-Identifier: Apache-2.0
internal import CMMIO

/// To go on after a restart, a server makes the queue with the old state, gives it the chains that were in flight, and
/// sends the driver one interrupt, since nobody knows whether the last one was sent.
extension SplitQueueDevice {
  /// Up to where the used ring says that chains are used, modulo 2^16.
  ///
  /// The part of a queue's state that outlives its server; the kernel keeps only the other one for a VDUSE device.
  /// The driver could have changed it, to its own harm.
  /// - Parameter used: At least 4 bytes, at a multiple of 4.
  public static func publishedUsedIndex(of used: RingArea) -> UInt16 {
    precondition(used.byteCount >= 4, "a used ring")
    return unsafe cmmio_read16(used.start + 2)
  }

  /// Which chain an entry of the used ring has: what a log needs to know of those published after its last line.
  /// - Parameter index: As the indices of the state: any of the last ``size`` before ``SplitQueueState/usedIndex``.
  /// - Returns: Nil where the entry names no descriptor.
  public func publishedHead(at index: UInt16) -> UInt16? {
    let id = unsafe cmmio_read32(used + 4 + Int(UInt32(index) & mask) * 8)
    return id <= mask ? UInt16(id) : nil
  }

  /// Makes a chain of a log one in flight again; it is completed as any other.
  ///
  /// Where order was agreed on, chains come in the order in which they were taken.
  /// - Throws: `badState` when there are more of them than between the two indices of the state, or this one is there.
  public mutating func resume(_ chain: QueueChain) throws(QueueError) {
    try checkResumable(UInt32(chain.id))
    ledger.take(UInt32(chain.id), slotCount: 1)
    unresumed -= 1
  }

  /// Follows a chain of a log once more, and makes it one in flight again; its pieces are there for ``segment(_:)``.
  ///
  /// Where order was agreed on, chains come in the order in which they were taken.
  /// - Parameter id: ``QueueChain/id``.
  /// - Throws: As ``resume(_:)``; and, as ``take(through:)``, what the driver did wrong.
  public mutating func retake<Translator: IOVATranslator & ~Copyable>(
    _ id: UInt16, through translator: borrowing Translator
  ) throws(QueueError) -> QueueChain {
    if let failure { throw failure }
    try checkResumable(UInt32(id))
    do throws(QueueError) {
      let chain = try walk(from: UInt32(id), through: translator)
      ledger.take(UInt32(id), slotCount: 1)
      unresumed -= 1
      return chain
    } catch {
      failure = error
      throw error
    }
  }

  private func checkResumable(_ id: UInt32) throws(QueueError) {
    guard id <= mask, ledger.isFree(id), unresumed != 0 else {
      throw QueueError(.badState, value: UInt64(id))
    }
  }
}
