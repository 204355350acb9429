// SPDX-License-Identifier: Apache-2.0
import DMACore
import Glibc
import Virtqueues

/// Pages between two that no one may touch: an access next to them ends the process.
final class GuardedPages: Sendable {
  private let start: UInt
  private let whole: Int
  let memory: RingMemory

  /// - Parameter iova: What the other side calls the first byte.
  init(pageCount: Int, iova: IOVA = IOVA(0x1_0000)) {
    whole = (pageCount + 2) * 4096
    let base = unsafe mmap(nil, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    start = UInt(bitPattern: base)
    precondition(start != UInt.max, "memory for a test")
    memory = RingMemory(base: start + 4096, iova: iova, byteCount: pageCount * 4096)
    let result = unsafe mprotect(
      UnsafeMutableRawPointer(bitPattern: start + 4096), pageCount * 4096, PROT_READ | PROT_WRITE)
    precondition(result == 0, "memory for a test")
  }

  deinit { unsafe munmap(UnsafeMutableRawPointer(bitPattern: start), whole) }

  func store<Word: BitwiseCopyable>(_ value: Word, at offset: Int) {
    precondition(offset >= 0 && offset + MemoryLayout<Word>.size <= memory.byteCount)
    unsafe UnsafeMutableRawPointer(bitPattern: memory.base + UInt(offset))?
      .storeBytes(of: value, as: Word.self)
  }

  func load<Word: BitwiseCopyable>(_ type: Word.Type, at offset: Int) -> Word? {
    precondition(offset >= 0 && offset + MemoryLayout<Word>.size <= memory.byteCount)
    return unsafe UnsafeRawPointer(bitPattern: memory.base + UInt(offset))?.loadUnaligned(as: Word.self)
  }
}

/// A ring of 8 entries whose driver, or device, is the test.
struct RawRing: Sendable {
  static let size = 8

  let pages = GuardedPages(pageCount: 4)
  let isPacked: Bool
  /// Where the ring begins, so that its last part ends with the first page.
  private var origin: Int { isPacked ? 4096 - 128 : (4096 - (128 + 24 + 70)) & ~15 }
  /// Indirect tables: the second page and what follows.
  static let tableOffset = 4096
  static func address(_ offset: Int) -> UInt64 { 0x1_0000 + UInt64(offset) }

  private var availableOffset: Int { origin + 128 }
  private var usedOffset: Int { origin + 128 + 24 }

  func splitDevice(
    features: QueueFeatures = [.indirectDescriptors], segmentLimit: Int? = nil,
    state: SplitQueueState = SplitQueueState()
  ) throws(QueueError) -> SplitQueueDevice {
    try SplitQueueDevice(
      size: Self.size, descriptors: pages.memory.area(origin, 128),
      available: pages.memory.area(availableOffset, 22), used: pages.memory.area(usedOffset, 70),
      features: features, segmentLimit: segmentLimit, state: state)
  }

  func packedDevice(
    features: QueueFeatures = [.indirectDescriptors], segmentLimit: Int? = nil,
    state: PackedQueueState = PackedQueueState()
  ) throws(QueueError) -> PackedQueueDevice {
    try PackedQueueDevice(
      size: Self.size, descriptors: pages.memory.area(origin, 128),
      driverEvent: pages.memory.area(origin - 8, 4), deviceEvent: pages.memory.area(origin - 4, 4),
      features: features, segmentLimit: segmentLimit, state: state)
  }

  // As a driver

  /// Writes a descriptor of the ring; of a packed one it is available in the first round.
  func descriptor(
    _ index: Int, _ address: UInt64, _ byteCount: UInt32, _ flags: UInt16, nextOrID: UInt16 = 0
  ) {
    write(origin + index * 16, address, byteCount, isPacked ? flags | 1 << 7 : flags, nextOrID)
  }

  /// Writes a descriptor of the indirect table.
  func tableDescriptor(
    _ index: Int, _ address: UInt64, _ byteCount: UInt32, _ flags: UInt16, next: UInt16 = 0
  ) {
    write(Self.tableOffset + index * 16, address, byteCount, flags, next)
  }

  private func write(_ place: Int, _ address: UInt64, _ byteCount: UInt32, _ flags: UInt16, _ other: UInt16) {
    pages.store(address, at: place)
    pages.store(byteCount, at: place + 8)
    pages.store(isPacked ? other : flags, at: place + 12)
    pages.store(isPacked ? flags : other, at: place + 14)
  }

  /// Makes heads available; in a packed ring they are by themselves.
  func offer(_ heads: UInt16..., index: UInt16? = nil) {
    guard !isPacked else { return }
    for (place, head) in heads.enumerated() { pages.store(head, at: availableOffset + 4 + place * 2) }
    pages.store(index ?? UInt16(heads.count), at: availableOffset + 2)
  }

  /// Writes a descriptor's flags alone.
  func flags(_ flags: UInt16, of index: Int) {
    pages.store(flags, at: origin + index * 16 + (isPacked ? 14 : 12))
  }

  // As a device

  var usedArea: RingArea { pages.memory.area(usedOffset, 70) }
  var usedIndex: UInt16? { pages.load(UInt16.self, at: usedOffset + 2) }

  /// The second half of a descriptor: length, identity and flags of a packed one.
  func rest(of index: Int) -> UInt64? { pages.load(UInt64.self, at: origin + index * 16 + 8) }
}
