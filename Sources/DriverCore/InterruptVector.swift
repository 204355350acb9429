// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// One armed interrupt of a function.
///
/// Interrupts are counted by the kernel: those that come while nobody looks are not lost, they are added up.
/// Use one way of looking at a time: ``poll()``, ``wait(until:)`` or ``events(on:)``.
public struct InterruptVector: ~Copyable, Sendable {
  /// Its number among the vectors of its kind.
  public let index: Int
  private let arming: InterruptArming

  init(index: Int, arming: InterruptArming) {
    self.index = index
    self.arming = arming
  }

  /// Which kind it is of.
  public var kind: InterruptKind { arming.kind }

  private var event: InterruptLine { arming.lines[index] }

  /// The number of interrupts since the last look; 0 for none.
  ///
  /// Never blocks.
  public borrowing func poll() throws(DriverError) -> UInt64 {
    try DriverError.wrapping { () throws(KernelError) in try event.event.take() }
  }

  /// Blocks until the interrupt has come.
  /// - Returns: How often it came since the last look; at least 1.
  /// - Throws: `DriverError.timedOut` at the deadline.
  public borrowing func wait(until deadline: Deadline) throws(DriverError) -> UInt64 {
    repeat {
      let isReady = try DriverError.wrapping { () throws(KernelError) in
        try event.event.wait(for: deadline.remaining)
      }
      guard isReady else { break }
      let count = try poll()
      if count > 0 { return count }
    } while !deadline.isOver
    throw DriverError(code: .timedOut, detail: "no \(kind.rawValue) interrupt on vector \(index)")
  }

  /// The counts as they come, for `for await`.
  ///
  /// The vector must live as long as the loop.
  public borrowing func events(on reactor: EventReactor) throws(KernelError) -> AsyncStream<UInt64> {
    try reactor.counts(of: event.event)
  }

  /// Tells the kernel that a level-triggered interrupt was served, so that it may come again.
  ///
  /// The device's own cause must be cleared first. Does nothing for messages, which need no such call, so
  /// that a driver serves all kinds alike.
  public borrowing func rearm() throws(KernelError) {
    if kind == .intx { try arming.source.unmask(kind, vector: index) }
  }

  /// Holds a level-triggered interrupt back until ``rearm()``.
  public borrowing func mask() throws(KernelError) { try arming.source.mask(kind, vector: index) }

  /// Sends the interrupt by software, along the path that the device's would take from the kernel on.
  public borrowing func trigger() throws(KernelError) { try arming.source.trigger(kind, vector: index) }

  /// Takes the vector away from the hardware.
  ///
  /// Dropping a vector is as good; closing tells what the kernel said.
  public consuming func close() throws(KernelError) { try arming.source.detach(kind, vector: index) }
}
