// SPDX-License-Identifier: Apache-2.0
internal import DriverCore
internal import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// The kernel's part of a function's interrupts: which eventfd each vector signals, and the mask of the line.
/// - Source: drivers/vfio/pci/vfio_pci_intrs.c.
final class SimulatedInterrupts: Sendable {
  /// A vector's eventfd, held by a duplicate as the kernel holds a reference.
  private final class Line: Sendable {
    let event: EventFD
    init(duplicating descriptor: CInt) throws(KernelError) {
      event = EventFD(adopting: try .duplicating(descriptor))
    }
    func signal() { event.wake() }
    func end() { event.sayLastCall() }
  }

  private struct State {
    var armed: InterruptKind?
    var lines: [Int: Line] = [:]
    /// Below it, vectors have interrupts, signalled or not: those of MSI are never more.
    var end = 0
    /// What unmasks the line whenever an eventfd is signalled.
    var unmasking: EventSubscription?
    var isLineRaised = false
    var isLineEnabled = true
    var isMasked = false

    mutating func deliverLine() {
      guard armed == .intx, isLineRaised, isLineEnabled, !isMasked, let line = lines[0] else { return }
      isMasked = true  // as for every level-triggered line: until unmasked
      line.signal()
    }
  }

  let events: PCIFunctionEvents
  private let vectorCounts: [InterruptKind: Int]
  private let state = Mutex(State())

  init(vectorCounts: [InterruptKind: Int]) throws(KernelError) {
    self.vectorCounts = vectorCounts
    events = try PCIFunctionEvents()
  }

  func facts(of kind: InterruptKind) -> InterruptFacts? {
    guard let count = vectorCounts[kind], count > 0 else { return nil }
    return InterruptFacts(vectorCount: count, isExtensible: kind != .msi, isMaskable: kind == .intx)
  }

  func arm(
    _ kind: InterruptKind, from start: Int, signalling events: [CInt?], adding isAdding: Bool
  ) throws(KernelError) {
    let end = start + events.count
    let subject = "vectors \(start) to \(end - 1) of \(kind.rawValue)"
    try require(!events.isEmpty && end <= vectorCounts[kind] ?? 0, .invalidArgument, subject)
    var lines: [Int: Line] = [:]
    for (index, event) in events.enumerated() {
      if let event { lines[start + index] = try Line(duplicating: event) }
    }
    let fresh = lines
    let (mayArm, isInReach, dropped) = state.withLock { state -> (Bool, Bool, [Int: Line]) in
      guard isAdding ? state.armed == kind : state.armed == nil else { return (false, true, [:]) }
      guard !isAdding || kind == .msix || end <= state.end else { return (true, false, [:]) }
      if !isAdding { state.isMasked = false }
      let old = state.lines
      state.armed = kind
      state.end = max(state.end, end)
      for vector in start..<end { state.lines[vector] = fresh[vector] }
      state.deliverLine()
      return (true, true, old)
    }
    _ = dropped
    try require(mayArm, .resourceBusy, subject)
    try require(isInReach, .invalidArgument, subject)
  }

  func disarm(_ kind: InterruptKind) {
    let dropped = state.withLock { state -> ([Int: Line], EventSubscription?) in
      guard state.armed == kind else { return ([:], nil) }
      defer { (state.armed, state.lines, state.end, state.unmasking) = (nil, [:], 0, nil) }
      return (state.lines, state.unmasking)
    }
    _ = dropped
  }

  func trigger(_ kind: InterruptKind, _ vectors: some Sequence<Int>) throws(KernelError) {
    try update(kind) { state in
      for vector in vectors { state.lines[vector]?.signal() }
    }
  }

  func setMasked(_ isMasked: Bool, _ kind: InterruptKind, vector: Int) throws(KernelError) {
    try require(kind == .intx, .inappropriateIOCTLForDevice, "mask of \(kind.rawValue)")
    try update(kind) { state in
      state.isMasked = isMasked
      state.deliverLine()
    }
  }

  func unmask(_ kind: InterruptKind, whenSignalled event: CInt?) throws(KernelError) {
    try require(kind == .intx, .inappropriateIOCTLForDevice, "unmask of \(kind.rawValue)")
    guard let event else {
      let ended = state.withLock { $0.unmasking.take() }
      _ = ended
      return
    }
    let watched = try Line(duplicating: event)
    let subscription = try EventReactor().watch(watched.event.descriptor) { [weak self] _ in
      self?.state.withLock { state in
        state.isMasked = false
        state.deliverLine()
      }
    }
    var isFirst = true
    try update(kind) { state in
      isFirst = state.unmasking == nil
      if isFirst { state.unmasking = subscription }
    }
    try require(isFirst, .resourceBusy, "unmask of \(kind.rawValue)")
  }

  /// What the bus and the kernel tell of the function as a whole.
  func report(_ event: PCIFunctionEvent) {
    switch event {
    case .error: EventFD.wake(events.errorDescriptor)
    case .removalRequested: EventFD.wake(events.removalDescriptor)
    case .removed: end()
    }
  }

  private func end() {
    events.markRemoved()
    state.withLock { state in
      for line in state.lines.values { line.end() }
    }
  }

  /// What survives a reset of the function: vectors stay armed, the line is low and unmasked.
  func reset() {
    state.withLock { state in
      state.isLineRaised = false
      state.isLineEnabled = true
      state.isMasked = false
    }
  }

  /// Which kind is armed.
  var armed: InterruptKind? { state.withLock { $0.armed } }

  private func update(_ kind: InterruptKind, _ change: (inout State) -> Void) throws(KernelError) {
    let isArmed = state.withLock { state in
      if state.armed == kind { change(&state) }
      return state.armed == kind
    }
    try require(isArmed, .invalidArgument, "\(kind.rawValue), which is not armed")
  }

  private func require(_ condition: Bool, _ errno: Errno, _ subject: String) throws(KernelError) {
    guard !condition else { return }
    throw KernelError(
      operation: "VFIO_DEVICE_SET_IRQS", errno: errno, subject: "simulated function, \(subject)")
  }

  /// A message of the device; lost where its vector is not armed.
  func deliverMessage(_ kind: InterruptKind, vector: Int) {
    state.withLock { state in
      if state.armed == kind { state.lines[vector]?.signal() }
    }
  }

  func setLine(isRaised: Bool) {
    state.withLock { state in
      state.isLineRaised = isRaised
      state.deliverLine()
    }
  }

  /// Follows the command register's bit that keeps a function off its line.
  func setLine(isEnabled: Bool) {
    state.withLock { state in
      state.isLineEnabled = isEnabled
      state.deliverLine()
    }
  }
}
