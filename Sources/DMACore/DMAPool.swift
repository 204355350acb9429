// SPDX-License-Identifier: Apache-2.0
public import DeviceRegisters
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// Small objects that a device reaches (descriptors, page lists), cut out of one mapping.
///
/// Taking a slice and giving it back cost the same however many there are. Slices hold the pool, and the pool
/// its memory: it is unmapped from the device when the last of them goes.
public final class DMAPool: Sendable {
  /// The length of a slice in bytes; a power of two, which every slice is aligned to.
  public let sliceByteCount: Int
  /// How many slices there are.
  public let sliceCount: Int
  let memory: DMAMemory
  private struct FreeList {
    /// For each free slice, the one under it; the count of slices for none.
    var below: [UInt32]
    var top: UInt32
    var count: Int
  }
  private let free: Mutex<FreeList>

  /// Cuts memory into slices.
  /// - Parameters:
  ///   - memory: Consumed.
  ///   - sliceByteCount: A power of two from 8 to the memory's length. Up to a page, no slice crosses one.
  /// - Throws: `KernelError` `EINVAL` for another length, or for more than 2^32 - 1 slices.
  public init(_ memory: consuming DMAMemory, sliceByteCount: Int) throws(KernelError) {
    guard sliceByteCount >= 8, sliceByteCount & (sliceByteCount - 1) == 0, sliceByteCount <= memory.byteCount,
      memory.byteCount / sliceByteCount < Int(UInt32.max)
    else {
      throw KernelError(
        operation: "make pool", errno: .invalidArgument,
        subject: "slices of \(sliceByteCount) bytes in \(memory.byteCount)",
        remedy: "ask for a power of two, from 8 bytes to the memory's length")
    }
    let count = memory.byteCount / sliceByteCount
    self.memory = memory
    self.sliceByteCount = sliceByteCount
    sliceCount = count
    free = Mutex(FreeList(below: (0..<count).map { UInt32($0 + 1) }, top: 0, count: count))
  }

  /// How many slices are free.
  public var freeCount: Int { free.withLock { $0.count } }

  /// Who reaches the pool's memory.
  public var shares: PageShares { memory.shares }

  /// Takes a slice; nil where all are taken.
  ///
  /// It holds what its last user left in it.
  public func take() -> DMASlice? {
    let index = free.withLock { free -> UInt32? in
      let index = free.top
      guard index < sliceCount else { return nil }
      free.top = free.below[Int(index)]
      free.count -= 1
      return index
    }
    return index.map { DMASlice(pool: self, index: Int($0)) }
  }

  fileprivate func giveBack(_ index: Int) {
    free.withLock { free in
      free.below[index] = free.top
      free.top = UInt32(index)
      free.count += 1
    }
  }
}

/// A part of a pool's memory with one owner, who gives it back by letting go.
///
/// The device must be done with it then: the next owner writes the same bytes. Where that is not certain, see
/// ``abandon()``.
public struct DMASlice: ~Copyable, Sendable {
  /// The pool that it is of.
  public let pool: DMAPool
  private let index: Int
  private var isAbandoned = false

  fileprivate init(pool: DMAPool, index: Int) {
    self.pool = pool
    self.index = index
  }

  /// The length in bytes.
  public var byteCount: Int { pool.sliceByteCount }

  /// The device's address of the first byte.
  public var iova: IOVA { pool.memory.iova(at: start) }

  private var start: Int { index * pool.sliceByteCount }

  private func place(_ byteOffset: Int, _ width: Int) -> Int {
    precondition(byteOffset >= 0 && byteOffset <= byteCount - width, "a place inside the slice")
    return start + byteOffset
  }

  /// Reads one scalar, once.
  /// - Parameter byteOffset: In bytes; a multiple of the scalar's width.
  public func load<Word: RegisterWord>(
    _ type: Word.Type, at byteOffset: Int, ordering: DMAOrdering = .relaxed
  ) -> Word {
    pool.memory.load(type, at: place(byteOffset, MemoryLayout<Word>.size), ordering: ordering)
  }

  /// Writes one scalar, once.
  /// - Parameter byteOffset: In bytes; a multiple of the scalar's width.
  public func store<Word: RegisterWord>(_ value: Word, at byteOffset: Int, ordering: DMAOrdering = .relaxed) {
    pool.memory.store(value, at: place(byteOffset, MemoryLayout<Word>.size), ordering: ordering)
  }

  /// Copies bytes in, while the device does not read them.
  public func copyIn(_ source: RawSpan, at byteOffset: Int = 0) {
    pool.memory.copyIn(source, at: place(byteOffset, source.byteCount))
  }

  /// Copies bytes out, while the device does not write them.
  public func copyOut(at byteOffset: Int = 0, into target: inout MutableRawSpan) {
    pool.memory.copyOut(at: place(byteOffset, target.byteCount), into: &target)
  }

  /// Makes what was written here visible to the device; before the doorbell.
  public func syncForDevice() { pool.memory.sync(start, byteCount, .forDevice) }

  /// Makes what the device wrote visible here; after its completion.
  public func syncForCPU() { pool.memory.sync(start, byteCount, .forCPU) }

  /// Lets go without giving back, where it is not certain that the device is done: nobody gets these bytes again
  /// before the whole pool is unmapped.
  public consuming func abandon() { isAbandoned = true }

  deinit { if !isAbandoned { pool.giveBack(index) } }
}
