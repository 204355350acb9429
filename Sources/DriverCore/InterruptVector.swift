// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// One armed interrupt of a function.
///
/// Interrupts are counted by the kernel: those that come while nobody looks are not lost, they are added up.
/// Use one way of looking at a time: ``poll()``, ``wait(until:)``, an ``InterruptWaiter``, ``events(on:)`` or
/// ``serve(on:_:)``.
public struct InterruptVector: ~Copyable, Sendable {
  /// Its number among the vectors of its kind.
  public let index: Int
  let line: InterruptLine
  let arming: InterruptArming

  init(index: Int, line: InterruptLine, arming: InterruptArming) {
    self.index = index
    self.line = line
    self.arming = arming
  }

  /// Which kind it is of.
  public var kind: InterruptKind { arming.kind }

  /// The number of interrupts since the last look; 0 for none.
  ///
  /// Never blocks.
  /// - Throws: `DriverError.removed` once the function is gone.
  public borrowing func poll() throws(DriverError) -> UInt64 {
    let count = try DriverError.wrapping { () throws(KernelError) in try line.event.take() }
    if count == 0 || count >= EventFD.lastCall { try arming.source.events.requirePresent() }
    return count
  }

  /// Blocks until the interrupt has come.
  /// - Returns: How often it came since the last look; at least 1.
  /// - Throws: `DriverError.timedOut` at the deadline, `.removed` as soon as the function is gone.
  public borrowing func wait(until deadline: Deadline) throws(DriverError) -> UInt64 {
    while true {
      let count = try poll()
      if count > 0 { return count }
      let isReady = try DriverError.wrapping { () throws(KernelError) in
        try line.event.wait(for: deadline.remaining)
      }
      guard isReady else {
        throw DriverError(code: .timedOut, detail: "no \(kind.rawValue) interrupt on vector \(index)")
      }
    }
  }

  /// The counts as they come, for `for await`; they end when the function is gone.
  ///
  /// The vector must live as long as the loop.
  public borrowing func events(on reactor: EventReactor) throws(KernelError) -> EventCounts {
    try reactor.counts(of: line.event)
  }

  /// Calls a handler on the reactor's thread with each count: the way of the fewest instructions for a driver
  /// that serves many vectors on one thread.
  ///
  /// - Parameter handler: Must not block. After the function is gone it is called no more.
  /// - Returns: Ends the calls when it is dropped. The vector must live as long.
  public borrowing func serve(
    on reactor: EventReactor, _ handler: @escaping @Sendable (_ count: UInt64) -> Void
  ) throws(KernelError) -> EventSubscription {
    try reactor.watch(line.event.descriptor, tellingTheEnd: false, handler)
  }

  /// Tells the kernel that a level-triggered interrupt was served, so that it may come again.
  ///
  /// The device's own cause must be cleared first. Does nothing for messages, which need no such call, so
  /// that a driver serves all kinds alike.
  public borrowing func rearm() throws(KernelError) {
    if kind == .intx { try arming.source.setMasked(false, kind, vector: index) }
  }

  /// Lets the kernel do ``rearm()`` itself whenever an eventfd is signalled, with no further system call.
  ///
  /// - Parameter event: Its counts are the kernel's from now on; nil ends that. Works until the vector goes.
  /// - Throws: `KernelError`: `ENOTTY` for messages; `EBUSY` where there is such an eventfd already.
  public borrowing func rearm(whenSignalled event: borrowing EventFD?) throws(KernelError) {
    let descriptor: CInt? =
      switch event {
      case .some(let event): event.descriptor.rawValue
      case .none: nil
      }
    try arming.source.unmask(kind, vector: index, whenSignalled: descriptor)
  }

  /// Holds a level-triggered interrupt back until ``rearm()``.
  public borrowing func mask() throws(KernelError) { try arming.source.setMasked(true, kind, vector: index) }

  /// Sends the interrupt by software, along the path that the device's would take from the kernel on.
  public borrowing func trigger() throws(KernelError) {
    try arming.source.trigger(kind, index..<(index + 1))
  }

  /// Takes the vector away from the hardware; ``InterruptVectors/extend(by:except:)`` can arm it again.
  ///
  /// A vector that is dropped stays armed until all are gone, and its interrupts are lost.
  public consuming func close() throws(KernelError) { try arming.close(index) }
}
