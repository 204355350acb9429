// SPDX-License-Identifier: Apache-2.0
public import CMMIO
internal import DMACore
internal import DeviceRegisters
internal import DriverCore

/// A submission queue and its completion queue, for one thread at a time; nothing here takes a lock.
///
/// The fast way is the one of batches:
/// ```swift
/// while queue.submit(command, tag: n) { … }   // until it is full
/// queue.ring()                                // the controller sees all of them
/// try queue.reap { completion in … }          // those that are done, in the controller's order
/// ```
/// A command names memory by its bus address alone. The memory stays exposed until the command's completion came, or
/// ``drain(until:)`` returned, or the queue pair is gone: its going deletes the queues in the controller, and where
/// that fails resets it. The calls that take memory, such as ``read(_:at:count:into:byteOffset:)``, see to that.
@safe @frozen
public struct NVMeQueuePair: ~Copyable, @unchecked Sendable {
  @usableFromInline let submissions: UnsafeMutablePointer<NVMeCommand>
  @usableFromInline let completions: UnsafeMutableRawPointer
  @usableFromInline let slots: UnsafeMutablePointer<NVMeSlot>
  @usableFromInline let submissionDoorbell: UnsafeMutableRawPointer
  @usableFromInline let completionDoorbell: UnsafeMutableRawPointer
  /// Of both queues.
  @usableFromInline let entryCount: UInt32
  /// How many commands may be on their way: fewer than there are entries, so that no queue overflows.
  public let depth: UInt32
  /// Whether a doorbell is one store, and nothing else is to be done.
  @usableFromInline let hasPlainDoorbells: Bool
  /// Where the next command goes.
  @usableFromInline var tail: UInt32 = 0
  /// What the controller was told of it.
  @usableFromInline var rungTail: UInt32 = 0
  /// Where the next completion comes, and the phase bit that it has.
  @usableFromInline var head: UInt32 = 0
  @usableFromInline var phase: UInt32 = 1
  /// The list of free slots; a slot's number is the command's id.
  @usableFromInline var firstFree: UInt32 = 0
  /// Everything that is not needed for a command, and the life of the queues.
  @usableFromInline let resources: NVMeQueueResources

  init(_ resources: NVMeQueueResources) {
    let memory = resources.memory
    unsafe submissions = unsafe memory.submissions
    unsafe completions = unsafe memory.completions.address
    unsafe slots = unsafe memory.slots
    let doorbells = resources.doorbells
    unsafe submissionDoorbell = unsafe doorbells?.submission ?? UnsafeMutableRawPointer(memory.slots)
    unsafe completionDoorbell = unsafe doorbells?.completion ?? UnsafeMutableRawPointer(memory.slots)
    hasPlainDoorbells = doorbells != nil
    entryCount = UInt32(memory.entryCount)
    depth = UInt32(memory.depth)
    self.resources = resources
    clear()
  }

  /// Everything as at the beginning; the controller has forgotten the queues.
  mutating func clear() {
    (tail, rungTail, head, phase, firstFree) = (0, 0, 0, 1, 0)
    resources.memory.clear()
  }

  /// The number of the queues in the controller; 0 are the admin queues.
  public var id: Int { resources.id }

  /// Puts a command into the queue; ``ring()`` lets the controller see it.
  /// - Parameters:
  ///   - command: Its id is filled in here.
  ///   - tag: Comes back with the completion.
  /// - Returns: False where as many commands as the queue holds are on their way: ``reap(_:)`` first.
  @inlinable @discardableResult
  public mutating func submit(_ command: NVMeCommand, tag: UInt64 = 0) -> Bool {
    let id = firstFree
    if id == NVMeSlot.endOfList { return false }
    // SAFETY: ids in the list are below the depth; the tail is below the count of entries.
    let slot = unsafe slots + Int(truncatingIfNeeded: id)
    unsafe firstFree = slot.pointee.next
    unsafe slot.pointee = NVMeSlot(tag: tag, next: NVMeSlot.onItsWay)
    let place = unsafe submissions + Int(truncatingIfNeeded: tail)
    unsafe place.pointee = command
    unsafe place.pointee.header |= UInt64(id) &<< 16
    tail &+= 1
    if tail == entryCount { tail = 0 }
    return true
  }

  /// Lets the controller see what was submitted.
  @inlinable
  public mutating func ring() {
    if tail == rungTail { return }
    if hasPlainDoorbells {
      cmmio_write_barrier()
      // SAFETY: a mapped register, which `resources` keeps.
      unsafe cmmio_write32(submissionDoorbell, tail)
    } else {
      resources.ring(from: rungTail, to: tail)
    }
    rungTail = tail
  }

  /// Takes the next completion, or nil where none has come; never waits.
  ///
  /// ``acknowledge()`` gives the entry back, once for several.
  /// - Throws: `NVMeError` of code `.deviceFault` for a completion of a command that is not on its way: the controller
  ///   must be reset then, as ``abandon(waiting:_:)`` does.
  @inlinable
  public mutating func poll() throws(NVMeError) -> NVMeCompletion? {
    // SAFETY: the head is below the count of entries, each of 16 bytes. One load has id, phase and status.
    let entry = unsafe completions + Int(truncatingIfNeeded: head &<< 4)
    let last = unsafe cmmio_read32(entry + 12)
    if (last &>> 16) & 1 != phase { return nil }
    cmmio_read_barrier()
    let id = last & 0xffff
    guard id < depth else { throw resources.unknown(id) }
    // SAFETY: checked above.
    let slot = unsafe slots + Int(truncatingIfNeeded: id)
    guard unsafe slot.pointee.next == NVMeSlot.onItsWay else { throw resources.unknown(id) }
    let completion = unsafe NVMeCompletion(
      tag: slot.pointee.tag, status: NVMeStatus(rawValue: UInt16(truncatingIfNeeded: last &>> 17)),
      result: cmmio_read32(entry))
    unsafe slot.pointee.next = firstFree
    firstFree = id
    head &+= 1
    if head == entryCount {
      head = 0
      phase ^= 1
    }
    return completion
  }

  /// Gives the entries of all completions that were taken back to the controller.
  @inlinable
  public mutating func acknowledge() {
    if hasPlainDoorbells {
      // SAFETY: as in ring().
      unsafe cmmio_write32(completionDoorbell, head)
    } else {
      resources.acknowledge(head)
    }
  }

  /// Takes all completions that have come, in the controller's order, and gives their entries back.
  /// - Returns: How many there were.
  /// - Throws: As ``poll()``.
  @inlinable @discardableResult
  public mutating func reap(_ body: (NVMeCompletion) -> Void) throws(NVMeError) -> Int {
    var count = 0
    while let completion = try poll() {
      body(completion)
      count &+= 1
    }
    if count != 0 { acknowledge() }
    return count
  }
}

/// A command's place while it is on its way.
@frozen @usableFromInline
struct NVMeSlot: BitwiseCopyable {
  @usableFromInline var tag: UInt64
  /// The next free slot, or one of the two below.
  @usableFromInline var next: UInt32

  @inlinable
  init(tag: UInt64, next: UInt32) {
    self.tag = tag
    self.next = next
  }

  // Both are above every id, and fit a comparison of 64 bits as they are.
  @inlinable static var endOfList: UInt32 { 0x7fff_ffff }
  @inlinable static var onItsWay: UInt32 { 0x7fff_fffe }
}
