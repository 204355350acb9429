// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import LinuxHandles
import Synchronization

/// A thread that reads the version register of an nvme (offset 8) over and over while somebody resets the function.
final class ResettingReader: Sendable {
  /// What it saw.
  struct Facts {
    var reads = 0
    var values: Set<UInt32> = []
    var revocations = 0
    var wrongFaults = 0
  }
  private final class State: Sendable {
    let window: RegisterWindow
    let isOver = Atomic<Bool>(false)
    let facts = Mutex(Facts())
    init(_ window: consuming RegisterWindow) { self.window = window }

    func read() {
      let value = window.load(UInt32.self, at: 8)
      let fault = window.takeFault()
      facts.withLock { facts in
        facts.reads += 1
        facts.values.insert(value)
        if let fault {
          if fault.isRevokedAccess { facts.revocations += 1 } else { facts.wrongFaults += 1 }
        }
      }
    }
  }
  private let state: State
  private let thread: Mutex<OwnedThread?>

  init(_ window: consuming RegisterWindow) throws(KernelError) {
    let state = State(window)
    self.state = state
    thread = Mutex(
      try OwnedThread {
        while !state.isOver.load(ordering: .acquiring) { state.read() }
      })
  }

  /// Ends the thread.
  func stop() -> Facts {
    state.isOver.store(true, ordering: .releasing)
    thread.withLock { $0 = nil }
    return state.facts.withLock { $0 }
  }
}
