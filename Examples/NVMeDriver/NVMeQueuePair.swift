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
  @usableFromInline let slots: UnsafeMutablePointer<UInt64>
  @usableFromInline let submissionDoorbell: UnsafeMutableRawPointer
  @usableFromInline let completionDoorbell: UnsafeMutableRawPointer
  /// The count of entries of both queues, a power of two, less one.
  @usableFromInline let mask: UInt
  /// How many commands may be on their way: one less than there are entries, so that no queue overflows.
  public var depth: Int { Int(mask) }
  /// Whether a doorbell is one store, and nothing else is to be done.
  @usableFromInline let hasPlainDoorbells: Bool
  /// Whether one descriptor names data that lie in more than two pages.
  @usableFromInline let namesByDescriptor: Bool
  /// How many entries the controller may be owed; see ``acknowledge(_:)``.
  @usableFromInline let greatestDebt: UInt
  /// Where the next command goes.
  @usableFromInline var tail: UInt = 0
  /// What the controller was told of it.
  @usableFromInline var rungTail: UInt = 0
  /// Where the next completion comes, and the phase bit that it has, at its place in the entry's last word.
  @usableFromInline var head: UInt = 0
  @usableFromInline var phase: UInt32 = 0x1_0000
  /// How many entries the controller is owed at most.
  @usableFromInline var debt: UInt = 0
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
    mask = UInt(memory.entryCount - 1)
    namesByDescriptor = resources.controller?.namesByDescriptor ?? false
    greatestDebt = resources.mayOweEntries ? UInt(memory.entryCount / 2 - 1) : 0
    self.resources = resources
    clear()
  }

  /// Everything as at the beginning; the controller has forgotten the queues.
  mutating func clear() {
    (tail, rungTail, head, phase, debt) = (0, 0, 0, 0x1_0000, 0)
    resources.memory.clear()
  }

  /// The number of the queues in the controller; 0 are the admin queues.
  public var id: Int { resources.id }

  /// Puts a command into the queue; ``ring()`` lets the controller see it.
  /// - Parameters:
  ///   - command: Its id is filled in here.
  ///   - tag: Comes back with the completion. Any number but all ones.
  /// - Returns: False where the queue is full: ``reap(_:)`` first. That is so with ``depth`` commands on their way, and
  ///   with fewer where one has not ended that is a whole round behind.
  @inlinable @discardableResult
  public mutating func submit(_ command: NVMeCommand, tag: UInt64 = 0) -> Bool {
    assert(tag != NVMeSlot.free, "all ones is no tag")
    let id = tail
    let next = (id &+ 1) & mask
    // The place at the tail is free, since it was looked at when the tail came to it.
    // SAFETY: tails are below the count of entries.
    if unsafe slots[Int(bitPattern: next)] != NVMeSlot.free { return false }
    unsafe slots[Int(bitPattern: id)] = tag
    var command = command
    command.header |= UInt64(id) &<< 16
    unsafe submissions[Int(bitPattern: id)] = command
    tail = next
    return true
  }

  /// Lets the controller see what was submitted.
  @inlinable
  public mutating func ring() {
    if tail == rungTail { return }
    if _fastPath(hasPlainDoorbells) {
      cmmio_write_barrier()
      // SAFETY: a mapped register, which `resources` keeps.
      unsafe cmmio_write32(submissionDoorbell, UInt32(truncatingIfNeeded: tail))
    } else {
      resources.ring(from: rungTail, to: tail)
    }
    rungTail = tail
  }

  /// Takes the next completion, or nil where none has come; never waits.
  ///
  /// ``acknowledge(_:)`` gives the entry back, once for several.
  /// - Throws: `NVMeError` of code `.deviceFault` for a completion of a command that is not on its way: the controller
  ///   must be reset then, as ``abandon(waiting:_:)`` does.
  @inlinable
  public mutating func poll() throws(NVMeError) -> NVMeCompletion? {
    // SAFETY: the head is below the count of entries, each of 16 bytes. One load has id, phase and status.
    let entry = unsafe completions + Int(bitPattern: head &<< 4)
    let last = unsafe cmmio_read32(entry + 12) ^ phase
    if last & 0x1_0000 != 0 { return nil }
    cmmio_read_barrier()
    let id = UInt(last & 0xffff)
    guard id <= mask else { throw resources.unknown(id) }
    // SAFETY: checked above.
    let tag = unsafe slots[Int(bitPattern: id)]
    guard tag != NVMeSlot.free else { throw resources.unknown(id) }
    let completion = unsafe NVMeCompletion(
      tag: tag, status: NVMeStatus(rawValue: UInt16(truncatingIfNeeded: last &>> 17)),
      result: cmmio_read32(entry))
    unsafe slots[Int(bitPattern: id)] = NVMeSlot.free
    head = (head &+ 1) & mask
    if head == 0 { phase ^= 0x1_0000 }
    return completion
  }

  /// Gives the entries of all completions that were taken back to the controller, now.
  @inlinable
  public mutating func acknowledge() {
    if _fastPath(hasPlainDoorbells) {
      // SAFETY: as in ring().
      unsafe cmmio_write32(completionDoorbell, UInt32(truncatingIfNeeded: head))
    } else {
      resources.acknowledge(head)
    }
  }

  /// Gives the entries of `count` more completions back, where it is time.
  ///
  /// A doorbell is a store over the bus, in a guest an exit of the virtual machine, and the controller need not know
  /// before it lacks entries. So a polled queue tells it of half a queue at once. It never waits for the other half:
  /// where nothing is left to take, it is owed less than half.
  @inlinable
  public mutating func acknowledge(_ count: Int) {
    debt &+= UInt(bitPattern: count)
    if debt > greatestDebt {
      acknowledge()
      debt = 0
    }
  }

  /// Takes all completions that have come, in the controller's order, and gives their entries back in time.
  /// - Returns: How many there were.
  /// - Throws: As ``poll()``.
  @inlinable @discardableResult
  public mutating func reap(_ body: (NVMeCompletion) -> Void) throws(NVMeError) -> Int {
    var count = 0
    while let completion = try poll() {
      body(completion)
      count &+= 1
    }
    if count != 0 { acknowledge(count) }
    return count
  }
}

/// The tag of the command that is on its way in a place of the queue; the place's number is the command's id.
@usableFromInline
enum NVMeSlot {
  /// What a place has without a command.
  @inlinable static var free: UInt64 { .max }
}
