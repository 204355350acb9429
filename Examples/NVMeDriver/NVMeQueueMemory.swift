// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DriverCore
internal import LinuxHandles

/// What the two queues of a pair consist of.
///
/// A class of its own, so that it can be left behind for good where the controller may still use it.
@safe
final class NVMeQueueMemory: @unchecked Sendable {
  /// Of both queues; a power of two.
  let entryCount: Int
  /// Where commands are written: the queue itself, or, where the queue lies in a memory buffer that is reached by
  /// calls, a copy of it.
  let submissions: UnsafeMutablePointer<NVMeCommand>
  /// The controller's address of the submission queue.
  let submissionAddress: IOVA
  let completions: DMAMemory
  /// A page for each slot: its list of further PRP entries or SGL descriptors.
  private let lists: DMAMemory
  /// See ``NVMeSlot``.
  let slots: UnsafeMutablePointer<UInt64>
  /// The submission queue in memory; nil in a memory buffer.
  private let submissionMemory: DMAMemory?
  /// What stands for a queue that is reached by calls.
  private let copy: UnsafeMutablePointer<NVMeCommand>?
  private let place: NVMeMemoryBuffer.Place?

  /// - Parameters:
  ///   - entryCount: A power of two from 2 on.
  ///   - place: In the controller's own memory; nil for ours.
  init(
    entryCount: Int, in space: any AddressSpace, near node: NUMANode?, place: NVMeMemoryBuffer.Place? = nil
  ) throws(KernelError) {
    self.entryCount = entryCount
    self.place = place
    completions = try space.expose(
      UnsharedMemory(byteCount: entryCount * 16, on: node), access: .readWrite, sharing: .coherent)
    lists = try space.expose(
      UnsharedMemory(byteCount: entryCount * 4096, on: node), access: .read, sharing: .coherent)
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
    unsafe slots = .allocate(capacity: entryCount)
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
    unsafe slots.initialize(repeating: NVMeSlot.free, count: entryCount)
    for place in 0..<(entryCount * 2) { completions.store(UInt64(0), at: place * 8) }
  }

  /// The tags of the commands that are on their way.
  var tagsOnTheirWay: [UInt64] {
    (0..<entryCount).compactMap { id in
      let tag = unsafe slots[id]
      return tag == NVMeSlot.free ? nil : tag
    }
  }

  /// The ids of the commands that are on their way.
  var idsOnTheirWay: [Int] { (0..<entryCount).filter { unsafe slots[$0] != NVMeSlot.free } }

  /// The device's address of a command's list.
  func listAddress(of id: UInt) -> IOVA { lists.iova(at: Int(id) * 4096) }

  /// Writes words of a command's list from its beginning on.
  /// - Parameter step: From each to the next.
  func writeList(of id: UInt, from first: UInt64, step: UInt64, count: Int) {
    precondition(id < entryCount && count <= 512, "a command's list has one page")
    // SAFETY: the command's own page, checked above; the device reads it after the doorbell.
    let list = unsafe (lists.address + Int(id) * 4096).assumingMemoryBound(to: UInt64.self)
    var word = first
    for place in 0..<count {
      unsafe list[place] = word
      word &+= step
    }
  }

  /// Writes one word of a command's list.
  func storeInList(of id: UInt, _ word: UInt64, at byteOffset: Int) {
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
