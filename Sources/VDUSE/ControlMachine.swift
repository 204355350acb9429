// SPDX-License-Identifier: Apache-2.0
package import DMACore

/// What is to be done for each control message, whatever their order: no I/O, so that it can be tested alone.
package struct ControlMachine {
  /// Something for the threads of queues.
  package enum Order: Hashable {
    /// Serve a queue from where the driver says.
    case start(queue: Int)
    /// Serve a queue no longer.
    case stop(queue: Int)
    /// Let go of the memory of an address space in a range.
    case forget(IOVARange, addressSpace: Int)
    /// Let go of everything.
    case forgetAll
  }

  /// What follows from a message.
  package struct Step: Hashable {
    /// Obeyed before the answer.
    package var orders: [Order]
    package var isDone: Bool
    /// Whose state the answer tells.
    package var reportedQueue: Int?
    /// Given after the answer: what the driver's own thread waits for comes first.
    package var ordersAfterwards: [Order]

    package init(
      orders: [Order] = [], isDone: Bool = true, reportedQueue: Int? = nil, ordersAfterwards: [Order] = []
    ) {
      (self.orders, self.isDone) = (orders, isDone)
      (self.reportedQueue, self.ordersAfterwards) = (reportedQueue, ordersAfterwards)
    }

    static let refused = Step(isDone: false)
  }

  private struct Queue {
    /// What the kernel said in messages; nil where it says nothing.
    var isReady: Bool?
    let group: Int
    var isStarted = false
  }

  private let description: VDUSEDeviceDescription
  private var queues: [Queue]
  private var addressSpaces: [Int]
  private var isSuspended = false
  /// How far the driver is.
  package private(set) var status = VirtioStatus()

  /// Begins with a device that no driver has touched.
  /// - Parameter tellsReadiness: Whether messages say which queues are ready.
  package init(_ description: VDUSEDeviceDescription, tellsReadiness: Bool) {
    self.description = description
    queues = (0..<description.queueCount).map { index in
      Queue(isReady: tellsReadiness ? false : nil, group: description.group(ofQueue: index))
    }
    addressSpaces = .init(repeating: 0, count: description.groupCount)
  }

  /// The address space of a queue; 0 for one in a group that the device has not, which the kernel refused.
  package func addressSpace(ofQueue index: Int) -> Int {
    let group = queues[index].group
    return addressSpaces.indices.contains(group) ? addressSpaces[group] : 0
  }

  /// Whether messages say that a queue is ready.
  package func isKnownReady(_ index: Int) -> Bool { queues[index].isReady == true }

  /// Goes on with a device that a process before this one served.
  /// - Parameters:
  ///   - status: What that one noted.
  ///   - readyQueues: What the kernel says now.
  /// - Returns: Which queues to start.
  package mutating func recover(_ status: VirtioStatus, readyQueues: [Int]) -> [Order] {
    self.status = status
    for index in readyQueues where queues[index].isReady != nil { queues[index].isReady = true }
    guard status.contains(.driverOK) else { return [] }
    return readyQueues.map { index in
      queues[index].isStarted = true
      return .start(queue: index)
    }
  }

  /// What follows from a message.
  /// - Parameter driverFeatures: What the driver chose; asked for only when it says that it did.
  package mutating func handle(
    _ request: VDUSERequest.Subject, driverFeatures: () -> UInt64?
  ) -> Step {
    switch request {
    case .queueState(let index):
      queues.indices.contains(index) ? Step(reportedQueue: index) : .refused
    case .status(let new): handle(new, driverFeatures)
    case .iotlb(let range, let addressSpace):
      (0..<description.addressSpaceCount).contains(addressSpace)
        ? Step(orders: [.forget(range, addressSpace: addressSpace)]) : .refused
    case .groupAddressSpace(let group, let addressSpace): move(group, to: addressSpace)
    case .queueReady(let index, let isReady): setReady(index, isReady)
    case .suspend: suspend()
    case .unknown: .refused
    }
  }

  private mutating func handle(_ new: VirtioStatus, _ driverFeatures: () -> UInt64?) -> Step {
    let old = status
    if new.isEmpty || new.contains(.failed) {
      let orders = stopAll()
      status = new
      if new.isEmpty {
        isSuspended = false
        for index in queues.indices where queues[index].isReady != nil { queues[index].isReady = false }
        for group in addressSpaces.indices { addressSpaces[group] = 0 }
      }
      return Step(orders: orders + [.forgetAll])
    }
    if new.contains(.featuresOK), !old.contains(.featuresOK), !accepts(driverFeatures()) { return .refused }
    status = new
    guard new.contains(.driverOK), !old.contains(.driverOK), !isSuspended else { return Step() }
    // Those of which no message speaks are started too: their threads see for themselves when they are ready.
    let starting = queues.indices.filter { queues[$0].isReady != false && !queues[$0].isStarted }
    for index in starting { queues[index].isStarted = true }
    return Step(ordersAfterwards: starting.map { .start(queue: $0) })
  }

  /// A driver cannot choose what was not offered, and must follow version 1 with the addresses of the IOTLB.
  private func accepts(_ chosen: UInt64?) -> Bool {
    let needed = description.features & (VirtioFeature.version1 | VirtioFeature.accessPlatform)
    guard let chosen else { return false }
    return chosen & ~description.features == 0 && chosen & needed == needed
  }

  private mutating func stopAll() -> [Order] {
    let stopping = queues.indices.filter { queues[$0].isStarted }
    for index in stopping { queues[index].isStarted = false }
    return stopping.map { .stop(queue: $0) }
  }

  private mutating func move(_ group: Int, to addressSpace: Int) -> Step {
    guard addressSpaces.indices.contains(group), (0..<description.addressSpaceCount).contains(addressSpace),
      !queues.contains(where: { $0.group == group && $0.isStarted })
    else { return .refused }
    addressSpaces[group] = addressSpace
    return Step()
  }

  private mutating func setReady(_ index: Int, _ isReady: Bool) -> Step {
    guard queues.indices.contains(index) else { return .refused }
    queues[index].isReady = isReady
    if isReady {
      guard status.contains(.driverOK), !status.contains(.failed), !isSuspended, !queues[index].isStarted
      else { return Step() }
      queues[index].isStarted = true
      return Step(ordersAfterwards: [.start(queue: index)])
    }
    guard queues[index].isStarted else { return Step() }
    queues[index].isStarted = false
    return Step(orders: [.stop(queue: index)])
  }

  private mutating func suspend() -> Step {
    isSuspended = true
    return Step(orders: stopAll())
  }
}
