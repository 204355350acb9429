// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles
internal import Synchronization

/// One vector's eventfd.
final class InterruptLine: Sendable {
  let event: EventFD
  let isTaken = Atomic<Bool>(false)
  init(_ event: consuming EventFD) { self.event = event }
}

/// The fact that a function's vectors are armed: disarms when the last vector goes.
final class InterruptArming: Sendable {
  struct State {
    var lines: [Int: InterruptLine]
    /// Below it, the kernel has interrupts for all vectors, armed or not.
    var end: Int
  }

  let kind: InterruptKind
  let source: any InterruptSource
  let state: Mutex<State>

  init(kind: InterruptKind, lines: [Int: InterruptLine], end: Int, source: any InterruptSource) {
    self.kind = kind
    self.source = source
    state = Mutex(State(lines: lines, end: end))
  }

  deinit { _ = try? source.disarm(kind) }

  /// Adds the vectors that `arm` makes, if vectors can be added.
  func extend(
    _ vectors: Range<Int>, except holes: Set<Int>, _ arm: () throws(KernelError) -> [Int: InterruptLine]
  ) throws(DriverError) {
    let end = state.withLock { state in
      precondition(
        vectors.allSatisfy { holes.contains($0) || state.lines[$0] == nil }, "a vector is armed once")
      return state.end
    }
    guard vectors.upperBound <= end || source.facts(of: kind)?.isExtensible == true else {
      throw DriverError(
        code: .unsupported,
        detail: "\(kind.rawValue) vectors cannot be added while \(end) are in use here; "
          + "drop them and arm all \(vectors.upperBound) at once")
    }
    let lines = try DriverError.wrapping(arm)
    state.withLock { state in
      state.lines.merge(lines) { _, new in new }
      state.end = max(end, vectors.upperBound)
    }
  }

  /// Takes one vector away from the hardware.
  func close(_ index: Int) throws(KernelError) {
    try source.arm(kind, from: index, signalling: [nil], adding: true)
    _ = state.withLock { $0.lines.removeValue(forKey: index) }
  }
}
