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
      let borrowed = OwnedDescriptor(adopting: descriptor)
      do throws(KernelError) {
        event = EventFD(adopting: try borrowed.duplicate())
      } catch {
        _ = borrowed.relinquish()
        throw error
      }
      _ = borrowed.relinquish()
    }
    func signal() { event.wake() }
  }

  private struct State {
    var armed: InterruptKind?
    var lines: [Line?] = []
    var isLineRaised = false
    var isLineEnabled = true
    var isMasked = false

    mutating func deliverLine() {
      guard armed == .intx, isLineRaised, isLineEnabled, !isMasked, let line = lines[0] else { return }
      isMasked = true  // as for every level-triggered line: until unmasked
      line.signal()
    }
  }

  private let vectorCounts: [InterruptKind: Int]
  private let state = Mutex(State())

  init(vectorCounts: [InterruptKind: Int]) { self.vectorCounts = vectorCounts }

  func arm(_ kind: InterruptKind, signalling events: [CInt]) throws(KernelError) {
    try require(
      events.count > 0 && events.count <= vectorCounts[kind] ?? 0, .invalidArgument,
      "\(events.count) vectors of \(kind.rawValue)")
    try require(state.withLock { $0.armed == nil }, .resourceBusy, kind.rawValue)
    var lines: [Line?] = []
    for event in events { lines.append(try Line(duplicating: event)) }
    let armed = lines
    let isFirst = state.withLock { state in
      guard state.armed == nil else { return false }
      state.armed = kind
      state.lines = armed
      state.isMasked = false
      state.deliverLine()
      return true
    }
    try require(isFirst, .resourceBusy, kind.rawValue)
  }

  func disarm(_ kind: InterruptKind) {
    let dropped = state.withLock { state -> [Line?] in
      guard state.armed == kind else { return [] }
      defer { (state.armed, state.lines) = (nil, []) }
      return state.lines
    }
    _ = dropped
  }

  func detach(_ kind: InterruptKind, vector: Int) throws(KernelError) {
    try update(kind, vector) { $0.lines[vector] = nil }
  }

  func trigger(_ kind: InterruptKind, vector: Int) throws(KernelError) {
    try update(kind, vector) { $0.lines[vector]?.signal() }
  }

  func setMasked(_ isMasked: Bool, _ kind: InterruptKind, vector: Int) throws(KernelError) {
    try require(kind == .intx, .inappropriateIOCTLForDevice, "mask of \(kind.rawValue)")
    try update(kind, vector) { state in
      state.isMasked = isMasked
      state.deliverLine()
    }
  }

  private func update(
    _ kind: InterruptKind, _ vector: Int, _ change: (inout State) -> Void
  ) throws(KernelError) {
    let isArmed = state.withLock { state in
      guard state.armed == kind, state.lines.indices.contains(vector) else { return false }
      change(&state)
      return true
    }
    try require(isArmed, .invalidArgument, "\(kind.rawValue) vector \(vector)")
  }

  private func require(_ condition: Bool, _ errno: Errno, _ subject: String) throws(KernelError) {
    guard !condition else { return }
    throw KernelError(
      operation: "VFIO_DEVICE_SET_IRQS", errno: errno, subject: "simulated function, \(subject)")
  }

  /// A message of the device; lost where its vector is not armed.
  func deliverMessage(_ kind: InterruptKind, vector: Int) {
    state.withLock { state in
      guard state.armed == kind, state.lines.indices.contains(vector) else { return }
      state.lines[vector]?.signal()
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
