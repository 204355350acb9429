// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import CMMIO
public import LinuxHandles
internal import SystemPackage

/// What a server of a device notes for the one after it, in a file that outlives a killed process.
///
/// The ring in the driver's memory says what was given back. This says which chains were done, some of them perhaps not
/// yet given back, so that they are not done again; how far a packed ring is, which the ring alone does not tell; and how
/// far the driver was, which the kernel does not tell.
///
/// Notes are stores into a mapped file: they survive the death of the process, and not that of the machine, with which
/// the device goes too.
@safe
public final class InFlightLog: Sendable {
  /// A chain that was done.
  public struct Entry: Hashable, Sendable {
    /// How many chains of the queue came before it, modulo 2^16: in a split ring, the available index at which it was
    /// taken.
    public let place: UInt16
    /// What the driver knows it by: ``Virtqueues/QueueChain/id``.
    public let id: UInt16
    /// How many entries of a packed ring it takes; 1 in a split one.
    public let slotCount: UInt16
    /// How many bytes were written into it; below 2^31.
    public let writtenByteCount: UInt32
    /// Notes a chain.
    public init(place: UInt16, id: UInt16, slotCount: UInt16 = 1, writtenByteCount: UInt32) {
      self.place = place
      self.id = id
      self.slotCount = slotCount
      self.writtenByteCount = writtenByteCount
    }
  }

  // "VDUSELG2": before, only the last chain was noted.
  private static let magic: UInt64 = 0x3247_4c45_5355_4456
  private static let sizesOffset = 8
  private static let statusOffset = 16
  private static let kindOffset = 24
  private static let queueOffset = 64
  // Where a queue's notes begin is how far a packed ring is; a cache line later, its entries: 16 bytes each.
  private static let entryOffset = 64
  private static let entryStride = 16

  private let memory: MappedMemory
  private let queueCount: Int
  /// How many chains of each queue are kept: a power of two, so that places that count modulo 2^16 go around in it.
  private let capacity: Int
  /// Whether it tells everything since the device was made: false where the log of a living device was lost.
  public let isComplete: Bool

  /// Opens the log of a device, or makes an empty one.
  /// - Parameters:
  ///   - queueSize: The most entries of each queue; of a log that is there, its own counts.
  ///   - isFresh: Whether what it holds is of a device that is gone.
  /// - Throws: `KernelError` for `open`, `pread`, `pwrite` and `mmap`; `EINVAL` for a file that is something else.
  public init(path: String, queueCount: Int, queueSize: Int, isFresh: Bool) throws(KernelError) {
    let file = OwnedDescriptor(
      adopting: try kernelCall("open", on: path) {
        unsafe path.withCString { unsafe abi_create($0, O_RDWR, 0o600) }
      })
    let presentByteCount = try file.byteCount
    let isNew = isFresh || presentByteCount == 0
    let stranger = KernelError(
      operation: "open", errno: .invalidArgument, subject: path,
      remedy: "this is no log of \(queueCount) queues")
    if isNew {
      var capacity = 1
      while capacity < queueSize { capacity *= 2 }
      self.capacity = capacity
      // Written, and not left a hole: no store may run into a file system that is full.
      let zeroes = [UInt8](repeating: 0, count: Self.byteCount(queueCount, capacity))
      _ = unsafe try file.write(zeroes.span.bytes, atFileOffset: 0)
    } else {
      guard presentByteCount >= 4096 else { throw stranger }
      let head = try MappedMemory.sharing(file, offset: 0, byteCount: 4096)
      let sizes = unsafe cmmio_read64(head.baseAddress + Self.sizesOffset)
      capacity = Int(truncatingIfNeeded: sizes >> 32)
      guard unsafe cmmio_read64(head.baseAddress) == Self.magic, sizes & 0xffff_ffff == queueCount,
        (1...0x10000).contains(capacity), capacity & (capacity - 1) == 0,
        presentByteCount >= UInt64(Self.byteCount(queueCount, capacity))
      else { throw stranger }
    }
    memory = try MappedMemory.sharing(
      file, offset: 0, byteCount: Self.byteCount(queueCount, capacity))
    self.queueCount = queueCount
    isComplete = isFresh || !isNew
    if isNew {
      unsafe cmmio_write64(memory.baseAddress + Self.sizesOffset, UInt64(queueCount) | UInt64(capacity) << 32)
      unsafe cmmio_write64(memory.baseAddress, Self.magic)
    }
  }

  private static func queueStride(_ capacity: Int) -> Int {
    (entryOffset + capacity * entryStride + 63) & ~63
  }

  private static func byteCount(_ queueCount: Int, _ capacity: Int) -> Int {
    (queueOffset + queueCount * queueStride(capacity) + 4095) & ~4095
  }

  /// How far the driver was; 0 in an empty log.
  public var status: VirtioStatus {
    get {
      VirtioStatus(rawValue: unsafe cmmio_read8(memory.baseAddress + Self.statusOffset))
    }
    set { unsafe cmmio_write8(memory.baseAddress + Self.statusOffset, newValue.rawValue) }
  }

  /// What the device is, which the kernel does not tell either; nil in an empty log.
  public var deviceID: VirtioDeviceID? {
    get {
      let number = unsafe cmmio_read32(memory.baseAddress + Self.kindOffset)
      return number == 0 ? nil : VirtioDeviceID(rawValue: number)
    }
    set { unsafe cmmio_write32(memory.baseAddress + Self.kindOffset, newValue?.rawValue ?? 0) }
  }

  // MARK: Chains

  /// The chain that was done at a place of a queue; nil where none was, or so many since that it is forgotten.
  public func entry(at place: UInt16, ofQueue index: Int) -> Entry? {
    let entry = unsafe self.entry(place, index)
    let word = unsafe cmmio_read64(entry)
    guard word >> 63 != 0, UInt16(truncatingIfNeeded: word) == place else { return nil }
    return Entry(
      place: place, id: UInt16(truncatingIfNeeded: word >> 16),
      slotCount: unsafe cmmio_read16(entry + 8),
      writtenByteCount: UInt32(truncatingIfNeeded: word >> 32) & 0x7fff_ffff)
  }

  /// Notes that a chain was done; before it is given back.
  public func note(_ entry: Entry, ofQueue index: Int) {
    let place = unsafe self.entry(entry.place, index)
    let word =
      UInt64(entry.place) | UInt64(entry.id) << 16 | UInt64(entry.writtenByteCount & 0x7fff_ffff) << 32
      | 1 << 63
    // The store that counts is the last one: a death before or after it, never within.
    unsafe cmmio_write16(place + 8, entry.slotCount)
    unsafe cmmio_write64(place, word)
  }

  /// Forgets what was done in a queue, which begins anew.
  public func clear(queue index: Int) {
    for place in 0..<capacity { unsafe cmmio_write64(entry(UInt16(truncatingIfNeeded: place), index), 0) }
    unsafe cmmio_write64(start(index), 0)
  }

  // MARK: How far a packed ring is

  /// Where a packed ring was after what was last published and noted; nil where nothing was since ``clear(queue:)``.
  func published(ofQueue index: Int) -> QueuePlace? {
    let word = unsafe cmmio_read64(start(index))
    guard word >> 63 != 0 else { return nil }
    return QueuePlace(
      packedIndex: UInt16(truncatingIfNeeded: word), wrap: word >> 32 & 1 != 0,
      chainCount: UInt16(truncatingIfNeeded: word >> 16))
  }

  /// Notes where a packed ring is; after it was published.
  func notePublished(_ place: QueuePlace, ofQueue index: Int) {
    let word =
      UInt64(place.state.usedIndex) | UInt64(place.chainCount) << 16 | (place.state.usedWrap ? 1 << 32 : 0)
      | 1 << 63
    unsafe cmmio_write64(start(index), word)
  }

  private func start(_ index: Int) -> UnsafeMutableRawPointer {
    precondition((0..<queueCount).contains(index), "a queue of this device")
    return unsafe memory.baseAddress + Self.queueOffset + index * Self.queueStride(capacity)
  }

  private func entry(_ place: UInt16, _ index: Int) -> UnsafeMutableRawPointer {
    unsafe start(index) + Self.entryOffset + (Int(place) & (capacity - 1)) * Self.entryStride
  }
}
