// SPDX-License-Identifier: Apache-2.0
public import DMACore
internal import DriverCore
internal import LinuxHandles
internal import Synchronization

/// Reads and writes that suspend the caller instead of its thread: any number of tasks on one queue pair.
///
/// For convenience: a suspended task costs some thousands of instructions, the batches of ``NVMeQueuePair`` some tens.
/// A thread of its own waits for the queue's interrupts.
public final class NVMeAsyncQueue: Sendable {
  private let shared: Shared
  private let thread: OwnedThread

  /// Makes a queue pair and its thread.
  /// - Throws: `NVMeError` as for ``NVMeController/makeQueuePair(depth:place:waiting:)``.
  public init(on controller: NVMeController, depth: Int = 32) throws(NVMeError) {
    let queue = try controller.makeQueuePair(depth: depth, waiting: .interrupts)
    let shared = Shared(queue, patience: controller.admin.patience, longest: controller.maximumTransfer)
    self.shared = shared
    thread = try NVMeError.wrappingKernel { () throws(KernelError) in
      try OwnedThread { shared.serve() }
    }
  }

  deinit { shared.end() }

  /// Reads blocks into memory; longer transfers than one command's are split.
  ///
  /// Parameters and errors are those of ``NVMeQueuePair/read(_:at:count:into:byteOffset:)``. The memory is the
  /// controller's until this returns, whatever becomes of the task.
  public func read(
    _ namespace: NVMeNamespace, at block: UInt64, count: Int, into memory: borrowing DMAMemory,
    byteOffset: Int = 0
  ) async throws(NVMeError) {
    memory.syncForDevice()
    let transfer = try NVMeTransfer(.read, namespace, block, count)
    try await run(transfer, at: transfer.iova(in: memory, byteOffset: byteOffset))
    memory.syncForCPU()
  }

  /// Writes blocks from memory; see ``read(_:at:count:into:byteOffset:)``.
  public func write(
    _ namespace: NVMeNamespace, at block: UInt64, count: Int, from memory: borrowing DMAMemory,
    byteOffset: Int = 0
  ) async throws(NVMeError) {
    memory.syncForDevice()
    let transfer = try NVMeTransfer(.write, namespace, block, count)
    try await run(transfer, at: transfer.iova(in: memory, byteOffset: byteOffset))
  }

  private func run(_ transfer: NVMeTransfer, at iova: IOVA) async throws(NVMeError) {
    var next = 0
    while next < transfer.count {
      let part = transfer.part(from: next, longest: shared.longest)
      let start = iova.advanced(byByteCount: part.bytes.lowerBound)
      let failure = await withCheckedContinuation { shared.begin(part, at: start, $0) }
      if let failure { throw failure }
      next = part.blocks.upperBound
    }
    withExtendedLifetime(self) {}
  }

  private typealias Continuation = CheckedContinuation<NVMeError?, Never>

  /// What the thread needs, apart from its owner.
  private final class Shared: Sendable {
    struct Work {
      let part: NVMeTransfer.Part
      let iova: IOVA
      let continuation: Continuation
      let deadline: Deadline
    }
    struct State: ~Copyable {
      var queue: NVMeQueuePair
      var works: [UInt64: Work] = [:]
      /// What found no room in the queue, oldest first.
      var backlog: [Work] = []
      var nextTag: UInt64 = 0

      init(_ queue: consuming NVMeQueuePair) { self.queue = queue }

      /// Hands as much to the controller as there is room for.
      mutating func submit() {
        var count = 0
        for work in backlog {
          guard queue.submit(work.part.command, moving: work.part.bytes.count, at: work.iova, tag: nextTag)
          else { break }
          works[nextTag] = work
          nextTag += 1
          count += 1
        }
        backlog.removeFirst(count)
        queue.ring()
      }
    }

    let longest: Int
    private let patience: Duration
    private let vector: NVMeVector?
    private let state: Mutex<State>
    private let isOver = Atomic<Bool>(false)

    init(_ queue: consuming NVMeQueuePair, patience: Duration, longest: Int) {
      self.patience = patience
      self.longest = longest
      vector = queue.resources.vector
      state = Mutex(State(queue))
    }

    func begin(_ part: NVMeTransfer.Part, at iova: IOVA, _ continuation: Continuation) {
      state.withLock { state in
        state.backlog.append(
          Work(part: part, iova: iova, continuation: continuation, deadline: Deadline(patience)))
        state.submit()
      }
    }

    func end() {
      isOver.store(true, ordering: .relaxed)
      // Wakes the thread at once; without it, it looks soon.
      do throws(KernelError) { try vector?.vector.trigger() } catch {}
    }

    func serve() {
      while !isOver.load(ordering: .relaxed) {
        // Why it woke does not matter: the queue is looked at in any case.
        do throws(DriverError) {
          _ = try vector?.vector.wait(until: Deadline(.milliseconds(100)))
        } catch {
          if error.code == .removed { failAll(NVMeError(error)) }
        }
        takeCompletions()
      }
    }

    private func takeCompletions() {
      let ended = state.withLock { state -> [(Work, NVMeError?)] in
        var ended: [(Work, NVMeError?)] = []
        var (works, completions): ([UInt64: Work], [NVMeCompletion]) = ([:], [])
        swap(&works, &state.works)
        do throws(NVMeError) {
          try state.queue.reap { completions.append($0) }
          let isLate = works.values.contains { $0.deadline.isOver }
          if isLate && completions.isEmpty {
            let tags = try state.queue.abandon { completions.append($0) }
            let failure = NVMeError(.timedOut, "no completion in time; the controller was reset")
            for tag in tags { if let work = works.removeValue(forKey: tag) { ended.append((work, failure)) } }
          }
        } catch {
          // The memory of all commands is out of the controller's reach, unless the error says otherwise.
          var failure = error
          do throws(NVMeError) {
            _ = try state.queue.abandon { completions.append($0) }
          } catch {
            failure = error
          }
          let done = Set(completions.map(\.tag))
          for (tag, work) in works where !done.contains(tag) { ended.append((work, failure)) }
          works = works.filter { done.contains($0.key) }
        }
        for completion in completions {
          guard let work = works.removeValue(forKey: completion.tag) else { continue }
          let failure =
            completion.status.isSuccess
            ? nil : NVMeError(work.part.opcode, endedWith: completion.status)
          ended.append((work, failure))
        }
        swap(&works, &state.works)
        state.submit()
        return ended
      }
      for (work, failure) in ended { work.continuation.resume(returning: failure) }
    }

    private func failAll(_ failure: NVMeError) {
      let ended = state.withLock { state -> [Work] in
        defer { (state.works, state.backlog) = ([:], []) }
        return state.works.values + state.backlog
      }
      for work in ended { work.continuation.resume(returning: failure) }
    }
  }
}
