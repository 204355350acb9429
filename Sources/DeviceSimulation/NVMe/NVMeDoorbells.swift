// SPDX-License-Identifier: Apache-2.0
internal import DeviceRegisters
internal import LinuxHandles
internal import Synchronization

/// The doorbells of a controller that looks at them by itself: registers that are memory, and what it has seen of them.
///
/// The driver writes the one part whenever it likes. The other is written in the model's turn, and read by its thread
/// at any time, only to see whether a turn is worth it.
final class NVMeDoorbells: Sendable {
  /// What the driver writes.
  let registers: DeviceBARMemory
  private let seen: MappedMemory
  /// Tells the thread to end.
  let isEnding = Atomic<Bool>(false)

  static let byteOffset = 0x1000
  static let byteCount = 0x1000
  /// A queue pair has two words: the submission queue's tail, then the completion queue's head.
  private static let pairByteCount = 8
  /// How many queue pairs have doorbells, whether there are such queues or not.
  static let pairCount = byteCount / pairByteCount

  init() throws(KernelError) {
    registers = try DeviceBARMemory(at: Self.byteOffset, byteCount: Self.byteCount)
    seen = try .anonymous(byteCount: Self.byteCount)
  }

  /// A word that changed.
  struct News {
    /// Counted from the first doorbell.
    let number: Int
    let value: UInt32
  }

  /// Whether a doorbell of the first pairs has another value than the last time.
  func haveNews(pairCount: Int) -> Bool {
    var pair = 0
    while pair < pairCount {
      // SAFETY: both memories have so many pairs.
      let (now, before) = unsafe (word(registers.memory, pair), word(seen, pair))
      if now != before { return true }
      pair += 1
    }
    return false
  }

  /// Takes what changed, completion queues first, so that there is room for what comes of the new commands.
  func takeNews(pairCount: Int, _ body: (News) -> Void) {
    for pair in 0..<pairCount {
      let (now, before) = unsafe (word(registers.memory, pair), word(seen, pair))
      guard now != before else { continue }
      unsafe UInt64.volatileStore(now, seen.baseAddress + pair * Self.pairByteCount)
      // What the driver wrote before the doorbell is read after it.
      atomicMemoryFence(ordering: .acquiring)
      if (now ^ before) >> 32 != 0 {
        body(News(number: 2 * pair + 1, value: UInt32(truncatingIfNeeded: now >> 32)))
      }
      if (now ^ before) & 0xffff_ffff != 0 {
        body(News(number: 2 * pair, value: UInt32(truncatingIfNeeded: now)))
      }
    }
  }

  @unsafe
  private func word(_ memory: borrowing MappedMemory, _ pair: Int) -> UInt64 {
    unsafe UInt64.volatileLoad(memory.baseAddress + pair * Self.pairByteCount)
  }

  /// Writes a doorbell on behalf of a driver that has not mapped it.
  func store(_ value: UInt32, number: Int) {
    precondition(number >= 0 && number < 2 * Self.pairCount, "inside the page")
    // SAFETY: checked above.
    unsafe UInt32.volatileStore(value, registers.memory.baseAddress + number * 4)
  }

  /// Puts a doorbell at 0, as that of a queue that is new.
  func clear(number: Int) {
    store(0, number: number)
    unsafe UInt32.volatileStore(0, seen.baseAddress + number * 4)  // SAFETY: checked there
  }

  /// Puts all doorbells at 0.
  func clearAll() {
    for number in 0..<(2 * Self.pairCount) { clear(number: number) }
  }
}
