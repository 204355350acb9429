// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DriverCore
internal import LinuxHandles

/// What the two queues of a pair consist of.
///
/// A class of its own, so that it can be left behind for good where the controller may still use it.
@safe
final class NVMeQueueMemory: @unchecked Sendable {
  /// Of both queues.
  let entryCount: Int
  /// How many commands may be on their way.
  let depth: Int
  /// Where commands are written: the queue itself, or, where the queue lies in a memory buffer that is reached by
  /// calls, a copy of it.
  let submissions: UnsafeMutablePointer<NVMeCommand>
  /// The controller's address of the submission queue.
  let submissionAddress: IOVA
  let completions: DMAMemory
  /// A page for each slot: its list of further PRP entries or SGL descriptors.
  private let lists: DMAMemory
  let slots: UnsafeMutablePointer<NVMeSlot>
  /// The submission queue in memory; nil in a memory buffer.
  private let submissionMemory: DMAMemory?
  /// What stands for a queue that is reached by calls.
  private let copy: UnsafeMutablePointer<NVMeCommand>?
  private let place: NVMeMemoryBuffer.Place?

  /// - Parameters:
  ///   - depth: At least 1; the queues have one entry more.
  ///   - place: In the controller's own memory; nil for ours.
  init(
    depth: Int, in space: any AddressSpace, near node: NUMANode?, place: NVMeMemoryBuffer.Place? = nil
  ) throws(KernelError) {
    entryCount = depth + 1
    self.depth = depth
    self.place = place
    completions = try space.expose(
      UnsharedMemory(byteCount: entryCount * 16, on: node), access: .readWrite, sharing: .coherent)
    lists = try space.expose(
      UnsharedMemory(byteCount: depth * 4096, on: node), access: .read, sharing: .coherent)
    if let place {
      submissionMemory = nil
      submissionAddress = place.iova
      unsafe copy = place.address == nil ? .allocate(capacity: entryCount) : nil
      unsafe submissions =
        copy ?? place.address.unsafelyUnwrapped.assumingMemoryBound(to: NVMeCommand.self)
    } else {
      let memory = try space.expose(
        UnsharedMemory(byteCount: entryCount * 64, on: node), access: .read, sharing: .coherent)
      submissionAddress = memory.iova
      unsafe submissions = memory.address.assumingMemoryBound(to: NVMeCommand.self)
      submissionMemory = consume memory
      unsafe copy = nil
    }
    unsafe slots = .allocate(capacity: depth)
    clear()
  }

  deinit {
    unsafe slots.deallocate()
    unsafe copy?.deallocate()
  }

  /// Whether the submission queue is no memory of this process.
  var isReachedByCalls: Bool { unsafe copy != nil }

  /// No command is on its way, and no completion has come.
  func clear() {
    for id in 0..<depth {
      unsafe (slots + id).initialize(
        to: NVMeSlot(tag: 0, next: id == depth - 1 ? NVMeSlot.endOfList : UInt32(id + 1)))
    }
    for place in 0..<(entryCount * 2) { completions.store(UInt64(0), at: place * 8) }
  }

  /// The tags of the commands that are on their way.
  var tagsOnTheirWay: [UInt64] {
    (0..<depth).compactMap { id in
      let slot = unsafe slots[id]
      return slot.next == NVMeSlot.onItsWay ? slot.tag : nil
    }
  }

  /// The id of a command that is on its way.
  func id(ofTag tag: UInt64) -> Int? {
    (0..<depth).first { id in
      let slot = unsafe slots[id]
      return slot.next == NVMeSlot.onItsWay && slot.tag == tag
    }
  }

  /// The device's address of a command's list.
  func listAddress(of id: UInt32) -> IOVA { lists.iova(at: Int(id) * 4096) }

  /// Writes one word of a command's list.
  func storeInList(of id: UInt32, _ word: UInt64, at byteOffset: Int) {
    lists.store(word, at: Int(id) * 4096 + byteOffset)
  }

  /// Brings commands to a memory buffer that is reached by calls.
  func copyOut(_ entries: Range<Int>) {
    guard let place, let copy = unsafe copy else { return }
    for entry in entries {
      let words = unsafe UnsafeRawPointer(copy + entry)
      for word in 0..<8 {
        place.store(unsafe words.load(fromByteOffset: word * 8, as: UInt64.self), at: entry * 64 + word * 8)
      }
    }
  }
}
