// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import LinuxHandles
internal import SystemPackage

/// Reads a device's control messages and answers each, as soon as the threads of its queues have obeyed.
///
/// It does no I/O for the device and waits for nobody: an answer that must wait is kept, and the next message read. The
/// kernel gives up a device after 30 seconds without an answer.
final class ControlThread {
  /// An answer that waits for threads.
  private struct Waiting {
    let id: UInt32
    let step: ControlMachine.Step
    let orders: [(worker: Int, number: UInt64)]
    let end: ContinuousClock.Instant
  }

  // Below the kernel's 30 seconds: a refusal leaves a device that can be reset, silence does not.
  private static let patience = Duration.seconds(20)

  private let served: ServedDevice
  private let workers: [QueueWorker]
  private let iotlb: IOTLB
  private let poll: EventPoll
  private let isEnding: @Sendable () -> Bool
  private var machine: ControlMachine
  private var waiting: [Waiting] = []

  init(
    _ served: ServedDevice, _ workers: [QueueWorker], _ iotlb: IOTLB, _ machine: ControlMachine,
    isEnding: @escaping @Sendable () -> Bool
  ) throws(KernelError) {
    (self.served, self.workers, self.iotlb, self.machine) = (served, workers, iotlb, machine)
    self.isEnding = isEnding
    poll = try EventPoll()
    try poll.add(served.device.descriptor, token: 0)
    try poll.add(served.news.descriptor, token: 1)
  }

  /// Starts the queues of a device that a process before this one served.
  /// - Throws: `KernelError` for `VDUSE_DEV_GET_FEATURES`.
  func recover(_ status: VirtioStatus, readyQueues: [Int]) throws(KernelError) {
    _ = try give(machine.recover(status, readyQueues: readyQueues), isRecovering: true)
  }

  func run() {
    do throws(KernelError) {
      while !isEnding() {
        var hasMessage = false
        _ = try poll.waitForTokens(waiting.isEmpty ? -1 : 100) { token in if token == 0 { hasMessage = true }
        }
        _ = try served.news.take()
        if hasMessage { try readMessages() }
        try answerWaiting()
      }
    } catch {
      served.report("control messages: \(error); the device is served no longer")
      served.ended()
    }
    for worker in workers { worker.order { $0.isEnding = true } }
  }

  private func readMessages() throws(KernelError) {
    var count = 0
    while true {
      do throws(KernelError) {
        guard let request = try served.device.readRequest() else { break }
        try handle(request)
      } catch {
        // A message that is cut short has no number to answer to.
        guard error.errno == .badMessage else { throw error }
        served.report("control messages: \(error)")
      }
      count += 1
    }
    // Readable, and nothing to read: the kernel has given the device up, and any call says so.
    if count == 0 { _ = try served.device.driverFeatures }
  }

  private func handle(_ request: VDUSERequest) throws(KernelError) {
    let step = machine.handle(request.subject) {
      do throws(KernelError) {
        return try served.device.driverFeatures
      } catch {
        served.report("control messages: \(error); the driver's features are refused")
        return nil
      }
    }
    if case .unknown(let type) = request.subject {
      served.report("a message of unknown type \(type) was refused")
    }
    if case .status = request.subject { served.log?.status = machine.status }
    let orders = try give(step.orders)
    let answer = Waiting(id: request.id, step: step, orders: orders, end: .now + Self.patience)
    if hasObeyed(answer) { try finish(answer, isDone: step.isDone) } else { waiting.append(answer) }
  }

  private func hasObeyed(_ answer: Waiting) -> Bool {
    answer.orders.allSatisfy { workers[$0.worker].hasObeyed($0.number) }
  }

  private func answerWaiting() throws(KernelError) {
    let now = ContinuousClock.now
    // In the order of the messages, as far as they are obeyed.
    for answer in waiting {
      let isObeyed = hasObeyed(answer)
      guard isObeyed || now >= answer.end else { continue }
      waiting.removeAll { $0.id == answer.id }
      if !isObeyed { served.report("a request is taking too long: the kernel's message was refused") }
      try finish(answer, isDone: isObeyed && answer.step.isDone)
    }
  }

  private func finish(_ answer: Waiting, isDone: Bool) throws(KernelError) {
    let report = answer.step.reportedQueue.map { workers[$0].report }
    do throws(KernelError) {
      try served.device.respond(VDUSEResponse(to: answer.id, isDone: isDone, queueState: report))
    } catch {
      // Whoever asked was killed while it waited.
      guard error.errno == .noSuchFileOrDirectory else { throw error }
    }
    if isDone { _ = try give(answer.step.ordersAfterwards) }
  }

  /// Passes orders on; which numbers are to be obeyed.
  private func give(
    _ orders: [ControlMachine.Order], isRecovering: Bool = false
  ) throws(KernelError) -> [(worker: Int, number: UInt64)] {
    var given: [(worker: Int, number: UInt64)] = []
    for order in orders {
      switch order {
      case .start(let index):
        // Without them nobody knows which kind of ring this is.
        let features = try served.device.driverFeatures
        let (space, isReady) = (machine.addressSpace(ofQueue: index), machine.isKnownReady(index))
        workers[index].order { target in
          target.isRunning = true
          target.startCount += 1
          target.isRecovering = isRecovering
          target.isKnownReady = isReady
          target.addressSpace = space
          target.features = features
        }
      case .stop(let index): given.append((index, workers[index].order { $0.isRunning = false }))
      case .forget(let range, let addressSpace):
        iotlb.forget(range, addressSpace: addressSpace)
        given += workers.map { ($0.index, $0.order()) }
      case .forgetAll:
        iotlb.forgetAll()
        given += workers.map { ($0.index, $0.order()) }
      }
    }
    return given
  }
}
