// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// The armed vectors of a function, to be taken one by one by whoever serves them.
///
/// The hardware is disarmed when this value and all vectors taken from it are gone.
public struct InterruptVectors: ~Copyable, Sendable {
  private let arming: InterruptArming

  /// Arms vectors of a kind; for backends.
  /// - Parameter holes: Vectors of the range that stay silent.
  /// - Throws: `KernelError` for `eventfd`, or what the source throws. Nothing stays armed then.
  public init(
    arming kind: InterruptKind, _ vectors: Range<Int>, except holes: Set<Int> = [],
    of source: any InterruptSource
  ) throws(KernelError) {
    precondition(vectors.lowerBound >= 0, "vectors are counted from 0")
    guard vectors.contains(where: { !holes.contains($0) }) else {
      throw KernelError(
        operation: "arm interrupts", errno: .invalidArgument, subject: "no vector of \(kind.rawValue)",
        remedy: "arm at least one vector")
    }
    let lines = try Self.makeLines(vectors, except: holes)
    try source.arm(
      kind, from: vectors.lowerBound, signalling: Self.descriptors(vectors, lines), adding: false)
    arming = InterruptArming(kind: kind, lines: lines, end: vectors.upperBound, source: source)
  }

  private static func makeLines(
    _ vectors: Range<Int>, except holes: Set<Int>
  ) throws(KernelError) -> [Int: InterruptLine] {
    var lines: [Int: InterruptLine] = [:]
    for vector in vectors where !holes.contains(vector) { lines[vector] = InterruptLine(try EventFD()) }
    return lines
  }

  private static func descriptors(_ vectors: Range<Int>, _ lines: [Int: InterruptLine]) -> [CInt?] {
    vectors.map { lines[$0]?.event.descriptor.rawValue }
  }

  /// Which kind they are of.
  public var kind: InterruptKind { arming.kind }

  /// How many vectors are armed.
  public var count: Int { arming.state.withLock { $0.lines.count } }

  /// The numbers of the armed vectors, in order.
  public var indices: [Int] { arming.state.withLock { $0.lines.keys.sorted() } }

  /// Hands out a vector; each can be taken once.
  public borrowing func take(_ index: Int) -> InterruptVector {
    guard let line = arming.state.withLock({ $0.lines[index] }) else {
      preconditionFailure("a vector among those armed")
    }
    precondition(!line.isTaken.exchange(true, ordering: .relaxed), "a vector has one owner")
    return InterruptVector(index: index, line: line, arming: arming)
  }

  /// Arms more vectors while the others stay as they are, or arms closed ones again.
  /// - Parameters:
  ///   - vectors: None of them armed, but for holes; they may lie behind a gap.
  ///   - holes: Vectors of the range that stay as they are.
  /// - Throws: `DriverError.unsupported` where the function or the kernel cannot add vectors to armed ones:
  ///   MSI never can, MSI-X since Linux 6.5 on machines whose interrupt controller allows it. `.kernel` for
  ///   what the source throws, `EINVAL` where the function has no such vector. Nothing has changed then.
  public borrowing func extend(
    by vectors: Range<Int>, except holes: Set<Int> = []
  ) throws(DriverError) {
    try arming.extend(vectors, except: holes) { () throws(KernelError) in
      let lines = try Self.makeLines(vectors, except: holes)
      for run in vectors.runs(where: { lines[$0] != nil }) {
        try arming.source.arm(
          kind, from: run.lowerBound, signalling: Self.descriptors(run, lines), adding: true)
      }
      return lines
    }
  }

  /// Signals several vectors by software in one call, along the path that the device's own take from the
  /// kernel on.
  public borrowing func trigger(_ vectors: Range<Int>) throws(KernelError) {
    try arming.source.trigger(kind, vectors)
  }

  /// As the other one, for vectors that do not follow each other.
  public borrowing func trigger(_ vectors: Set<Int>) throws(KernelError) {
    guard let first = vectors.min(), let last = vectors.max() else { return }
    try arming.source.trigger(kind, from: first, where: (first...last).map { vectors.contains($0) })
  }
}

extension Range<Int> {
  /// The parts of the range, as long as possible, whose members all fit.
  fileprivate func runs(where fits: (Int) -> Bool) -> [Range<Int>] {
    var runs: [Range<Int>] = []
    for index in self where fits(index) {
      if let last = runs.last, last.upperBound == index {
        runs[runs.count - 1] = last.lowerBound..<(index + 1)
      } else {
        runs.append(index..<(index + 1))
      }
    }
    return runs
  }
}
