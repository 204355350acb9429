// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// Serves one device: a thread for control messages, and one for each queue.
///
/// All messages of the kernel are answered, also while requests take long. Memory of the driver is used only between
/// the taking of a chain and its end; an update of the IOTLB, a reset and a suspension are answered when no thread uses
/// any more what they take away.
public final class VDUSEServer: Sendable {
  private let ending: Flag
  private let running: Mutex<Running>

  private final class Flag: Sendable {
    let isSet = Atomic<Bool>(false)
  }

  /// What there is until it is stopped.
  struct Running: ~Copyable {
    var served: ServedDevice?
    var control: OwnedThread?
    var queues: ThreadList?
  }

  /// Starts the threads.
  /// - Parameters:
  ///   - device: Open; given back to the kernel by ``stop()``.
  ///   - description: As it was made.
  ///   - features: As of the control that made it.
  ///   - service: What is done with chains.
  ///   - log: What a server after this one needs; nil for none.
  ///   - isRecovering: Whether the device was served before by a process that is gone.
  ///   - report: Told, in words, of what goes wrong; called on any thread.
  ///   - ended: Called once, on a thread of the server, where it cannot go on, after that was reported: the device stays, and its
  ///     requests wait for another server. Not where it was stopped.
  /// - Throws: `KernelError` for `eventfd`, `epoll_create1`, `epoll_ctl`, `pthread_create`, `VDUSE_VQ_GET_INFO`,
  ///   `VDUSE_DEV_GET_FEATURES`.
  public init(
    _ device: consuming VDUSEDevice, _ description: VDUSEDeviceDescription, features: VDUSEFeatures,
    service: any VirtioService, log: InFlightLog? = nil, isRecovering: Bool = false,
    report: @escaping @Sendable (String) -> Void, ended: @escaping @Sendable () -> Void = {}
  ) throws(KernelError) {
    let served = try ServedDevice(device, service, log, report, ended)
    let iotlb = IOTLB(served.source())
    var workers: [QueueWorker] = []
    for index in 0..<description.queueCount { workers.append(try QueueWorker(index, of: served, iotlb)) }
    let flag = Flag()
    let machine = ControlMachine(description, tellsReadiness: features.contains(.queueReady))
    // Handed to its thread, which alone uses it from then on.
    nonisolated(unsafe) let control = try ControlThread(served, workers, iotlb, machine) {
      flag.isSet.load(ordering: .acquiring)
    }
    if isRecovering {
      var ready: [Int] = []
      for index in 0..<description.queueCount where try served.device.queueInfo(index).isReady {
        ready.append(index)
      }
      // A ready queue of a device without a log: its driver was most likely there.
      let status = log?.status ?? [.acknowledge, .driver, .featuresOK, .driverOK]
      unsafe try control.recover(status, readyQueues: ready)
    } else {
      log?.status = []
    }
    ending = flag
    running = Mutex(Running(served: served))
    do throws(KernelError) {
      for worker in workers { try add(OwnedThread { worker.run() }) }
      let thread = try OwnedThread { unsafe control.run() }
      var new: OwnedThread? = thread
      running.withLock { $0.control = new.take() }
    } catch {
      for worker in workers { worker.order { $0.isEnding = true } }
      throw error
    }
  }

  private func add(_ thread: consuming OwnedThread) {
    var new: OwnedThread? = thread
    running.withLock { running in
      guard let thread = new.take() else { return }
      running.queues = ThreadList(thread, running.queues.take())
    }
  }

  /// Changes a part of the configuration space, and tells the driver of it where there is one.
  /// - Parameters:
  ///   - bytes: The new ones; at least one.
  ///   - offset: Where in the space, in bytes.
  /// - Throws: `KernelError` for `VDUSE_DEV_SET_CONFIG`: `EINVAL` outside the space; for `VDUSE_DEV_INJECT_CONFIG_IRQ`; `ENODEV`
  ///   after ``stop()``.
  public func changeConfiguration(_ bytes: [UInt8], at offset: Int) throws(KernelError) {
    guard let served = running.withLock({ $0.served }) else {
      throw KernelError(
        operation: "change the configuration", errno: .operationNotSupportedByDevice,
        subject: "a device that is not served any more")
    }
    try served.device.setConfiguration(bytes, at: offset)
    do throws(KernelError) {
      try served.device.interruptConfiguration()
    } catch {
      // The kernel's word for a driver that is not there yet: it will read the new bytes anyway.
      guard error.errno == .invalidArgument else { throw error }
    }
  }

  /// Ends serving, after the chains that are being worked on, waits for the threads, and closes the device.
  ///
  /// The device stays, and the driver's requests wait for the next server. Take it off the vdpa bus first to end it in
  /// order.
  public func stop() {
    ending.isSet.store(true, ordering: .releasing)
    let served = running.withLock { $0.served.take() }
    served?.news.wake()
    // Ends first: it tells the others to.
    let control = running.withLock { $0.control.take() }
    _ = consume control
    let queues = running.withLock { $0.queues.take() }
    _ = consume queues
  }

  deinit { stop() }
}

/// Threads one after the other; arrays cannot hold them.
final class ThreadList: Sendable {
  private let thread: OwnedThread
  private let next: ThreadList?

  init(_ thread: consuming OwnedThread, _ next: ThreadList?) {
    self.thread = thread
    self.next = next
  }
}
