// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// The armed vectors of a function, to be taken one by one by whoever serves them.
///
/// The hardware is disarmed when this value and all vectors taken from it are gone.
public struct InterruptVectors: ~Copyable, Sendable {
  private let arming: InterruptArming

  /// Arms vectors `0 ..< count`; for backends.
  /// - Throws: `KernelError` for `eventfd`, or what the source throws. Nothing stays armed then.
  public init(arming kind: InterruptKind, count: Int, of source: any InterruptSource) throws(KernelError) {
    guard count > 0 else {
      throw KernelError(
        operation: "arm interrupts", errno: .invalidArgument, subject: "\(count) vectors of \(kind.rawValue)",
        remedy: "arm at least one vector")
    }
    var lines: [InterruptLine] = []
    for _ in 0..<count { lines.append(InterruptLine(try EventFD())) }
    try source.arm(kind, signalling: lines.map { $0.event.descriptor.rawValue })
    arming = InterruptArming(kind: kind, lines: lines, source: source)
  }

  /// How many vectors are armed.
  public var count: Int { arming.lines.count }

  /// Hands out a vector; each can be taken once.
  public borrowing func take(_ index: Int) -> InterruptVector {
    precondition(arming.lines.indices.contains(index), "a vector among those armed")
    precondition(!arming.lines[index].isTaken.exchange(true, ordering: .relaxed), "a vector has one owner")
    return InterruptVector(index: index, arming: arming)
  }
}

/// One vector's eventfd.
final class InterruptLine: Sendable {
  let event: EventFD
  let isTaken = Atomic<Bool>(false)
  init(_ event: consuming EventFD) { self.event = event }
}

/// The fact that a function's vectors are armed: disarms when the last vector goes.
final class InterruptArming: Sendable {
  let kind: InterruptKind
  let lines: [InterruptLine]
  let source: any InterruptSource

  init(kind: InterruptKind, lines: [InterruptLine], source: any InterruptSource) {
    self.kind = kind
    self.lines = lines
    self.source = source
  }

  deinit { _ = try? source.disarm(kind) }
}
