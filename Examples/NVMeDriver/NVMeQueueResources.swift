// SPDX-License-Identifier: Apache-2.0
internal import CMMIO
internal import DMACore
internal import DeviceRegisters
internal import DriverCore
internal import Synchronization

/// What a queue pair needs beside its rings, and the fact that the controller has the queues: when it goes, they are
/// deleted there before their memory is used for anything else.
@usableFromInline
final class NVMeQueueResources: Sendable {
  /// The two registers where both are mapped and nobody wants to be told in another way.
  @safe
  struct Doorbells: @unchecked Sendable {
    let submission, completion: UnsafeMutableRawPointer
  }

  @usableFromInline let id: Int
  let memory: NVMeQueueMemory
  let registers: NVMeRegisterFile
  let doorbells: Doorbells?
  /// Pages in memory that the controller reads instead of its doorbells.
  private let shadow: NVMeShadowDoorbells?
  /// Nil for the admin queues, which end with the controller.
  let controller: NVMeController?
  let vector: NVMeVector?
  /// Whether the controller may learn later which completions were taken: its interrupts could depend on it, and a
  /// doorbell in memory costs next to nothing.
  var mayOweEntries: Bool { controller != nil && vector == nil && shadow == nil }
  /// In which life of the controller the queues were made there; 0 for none.
  let life = Atomic<Int>(0)
  /// Whether the queue had a completion that makes no sense, so that only a reset helps.
  let isBroken = Atomic<Bool>(false)

  init(
    id: Int, _ memory: NVMeQueueMemory, _ registers: NVMeRegisterFile, shadow: NVMeShadowDoorbells? = nil,
    controller: NVMeController? = nil, vector: NVMeVector? = nil
  ) {
    self.id = id
    self.memory = memory
    self.registers = registers
    self.shadow = shadow
    self.controller = controller
    self.vector = vector
    let isPlain = shadow == nil && !memory.isReachedByCalls
    doorbells = isPlain ? registers.doorbells(ofQueue: id) : nil
  }

  deinit {
    guard let controller else { return }
    if !controller.deleteQueues(id, madeIn: life.load(ordering: .relaxed)) {
      // The controller may use it for as long as it runs: nobody else may have it.
      _ = unsafe Unmanaged.passRetained(memory)
    }
    controller.giveBack(queueID: id, vector)
  }

  /// Tells the controller of new commands in a way that is more than one store.
  @inline(never) @usableFromInline
  func ring(from rungTail: UInt, to tail: UInt) {
    let (old, new) = (Int(rungTail), Int(tail))
    if old <= new {
      memory.copyOut(old..<new)
    } else {
      memory.copyOut(old..<memory.entryCount)
      memory.copyOut(0..<new)
    }
    cmmio_write_barrier()
    if let shadow, !shadow.mustTell(UInt16(tail), queue: id, isCompletion: false) { return }
    registers.ringSubmissions(ofQueue: id, UInt32(tail))
  }

  /// Tells the controller how far completions were taken.
  @inline(never) @usableFromInline
  func acknowledge(_ head: UInt) {
    if let shadow, !shadow.mustTell(UInt16(head), queue: id, isCompletion: true) { return }
    registers.ringCompletions(ofQueue: id, UInt32(head))
  }

  /// Writes the list of the pages that follow a command's first one.
  /// - Returns: The device's address of the list.
  @inline(never) @usableFromInline
  func writeList(_ id: UInt, _ second: UInt64, pageCount: Int) -> UInt64 {
    memory.writeList(of: id, from: second, step: 4096, count: pageCount)
    return memory.listAddress(of: id).rawValue
  }

  /// Notes that a completion makes no sense.
  @inline(never) @usableFromInline
  func unknown(_ commandID: UInt) -> NVMeError {
    isBroken.store(true, ordering: .relaxed)
    return NVMeError(
      .deviceFault, "queue \(id) has a completion of command \(commandID), which is not on its way")
  }
}
