// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import LinuxHandles
import Synchronization

/// A window that several threads use.
final class SharedWindow: Sendable {
  let window: RegisterWindow
  let isOver = Atomic<Bool>(false)
  init(_ window: consuming RegisterWindow) { self.window = window }
}

/// A thread whose end a test waits for, and sees.
final class GuardThread: Sendable {
  private final class Done: Sendable {
    let event: EventFD
    init() throws(KernelError) { event = try EventFD() }
  }
  private let done: Done
  private let thread: OwnedThread

  init(_ body: @escaping @Sendable () -> Void) throws(KernelError) {
    let done = try Done()
    self.done = done
    thread = try OwnedThread {
      body()
      done.event.wake()
    }
  }

  /// Whether it ended in time.
  func ends() throws -> Bool { try done.event.wait(for: .seconds(60)) }

  /// Takes registers away from itself, again and again.
  static func hammering() throws -> GuardThread {
    let file = try RevocableFile()
    let shared = SharedWindow(try file.dmaBuf().window())
    return try GuardThread {
      for _ in 0..<300 {
        file.revoke()
        precondition(shared.window.load(UInt32.self, at: 64) == .max)
        precondition(shared.window.takeFault() != nil)
        file.give()
        shared.window.store(UInt32(1), at: 64)
        precondition(shared.window.load(UInt32.self, at: 64) == 1 && shared.window.takeFault() == nil)
      }
    }
  }

  /// Reads a shared window, which holds zeros or is away, and writes at a place of its own.
  static func reading(_ shared: SharedWindow, storingAt place: Int) throws -> GuardThread {
    try GuardThread {
      while !shared.isOver.load(ordering: .acquiring) {
        let value = shared.window.load(UInt32.self, at: 0)
        precondition(value == 0 || value == .max)
        shared.window.store(UInt32(0), at: place)
      }
    }
  }

  /// Reads a register of a shared window that is away.
  static func losing(_ shared: SharedWindow, at place: Int) throws -> GuardThread {
    try GuardThread {
      while !shared.isOver.load(ordering: .acquiring) {
        precondition(shared.window.load(UInt32.self, at: place) == .max)
      }
    }
  }
}
