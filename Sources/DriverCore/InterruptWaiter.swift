// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// Waits for several vectors at once on the calling thread: the loop of a driver that blocks.
///
/// ```swift
/// var waiter = try InterruptWaiter()
/// try waiter.add(admin)
/// try waiter.add(completions)
/// while true { try waiter.wait { vector, count in … } }
/// ```
/// The counts of a vector are taken by the waiter alone. Vectors of several functions may share one.
public struct InterruptWaiter: ~Copyable, Sendable {
  @usableFromInline let poll: EventPoll
  /// Keeps the descriptors open, by tag.
  private var members: [UInt32: (line: InterruptLine, arming: InterruptArming)] = [:]

  /// Makes a waiter without vectors.
  /// - Throws: `KernelError` for `epoll_create1`.
  public init() throws(KernelError) { poll = try EventPoll() }

  /// Waits for a vector too.
  /// - Parameter tag: What ``wait(until:_:)`` calls it; its number if nil. One vector has one tag.
  /// - Throws: `KernelError` for `epoll_ctl`: `EEXIST` where the vector is here already.
  public mutating func add(_ vector: borrowing InterruptVector, as tag: UInt32? = nil) throws(KernelError) {
    let tag = tag ?? UInt32(vector.index)
    precondition(members[tag] == nil, "a tag names one vector")
    try poll.add(vector.line.event, tag: tag)
    members[tag] = (vector.line, vector.arming)
  }

  /// Waits for a vector no longer.
  public mutating func remove(_ tag: UInt32) throws(KernelError) {
    guard let member = members.removeValue(forKey: tag) else { return }
    try poll.remove(member.line.event)
  }

  /// Blocks until vectors have fired, and hands out their counts.
  /// - Parameter body: Called once for each vector that fired, with how often since the last look.
  /// - Returns: How many vectors fired; 0 where a signal came.
  /// - Throws: `DriverError.removed` as soon as the function of a vector is gone.
  @discardableResult @inlinable
  public borrowing func wait(_ body: (_ tag: UInt32, _ count: UInt64) -> Void) throws(DriverError) -> Int {
    var lastCalled: UInt32?
    let ready: Int
    do throws(KernelError) {
      ready = try poll.wait { tag, count in
        if count >= EventFD.lastCall { lastCalled = tag } else { body(tag, count) }
      }
    } catch {
      throw DriverError(error)
    }
    if let lastCalled { throw Self.removed(lastCalled) }
    return ready
  }

  /// As the other one, with a limit.
  /// - Returns: How many vectors fired; 0 at the deadline, or where a signal came.
  @discardableResult
  public borrowing func wait(
    until deadline: Deadline, _ body: (_ tag: UInt32, _ count: UInt64) -> Void
  ) throws(DriverError) -> Int {
    var lastCalled: UInt32?
    let ready = try DriverError.wrapping { () throws(KernelError) in
      try poll.wait(for: deadline.remaining) { tag, count in
        if count >= EventFD.lastCall { lastCalled = tag } else { body(tag, count) }
      }
    }
    if let lastCalled { throw Self.removed(lastCalled) }
    return ready
  }

  @usableFromInline
  static func removed(_ tag: UInt32) -> DriverError {
    DriverError(code: .removed, detail: "the function of vector \(tag) was taken away")
  }
}
