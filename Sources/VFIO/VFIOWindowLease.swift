// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// Which of a device's register windows live, and whether it sleeps: the two exclude each other.
///
/// An access to a mapped BAR while the device is in low power ends the process with SIGBUS, so a device does not
/// fall asleep while windows live, and gives out none while it sleeps.
final class VFIOWindowCount: Sendable {
  private struct State {
    var windows = 0
    var isAsleep = false
  }

  private let state = Mutex(State())

  func addWindow(_ subject: @autoclosure () -> String) throws(KernelError) {
    let isAsleep = state.withLock { state in
      if !state.isAsleep { state.windows += 1 }
      return state.isAsleep
    }
    guard isAsleep else { return }
    throw KernelError(
      operation: "map region", errno: .resourceBusy, subject: subject(),
      remedy: "the device is in low power; leave it first")
  }

  func removeWindow() { state.withLock { $0.windows -= 1 } }

  func fallAsleep(_ subject: @autoclosure () -> String) throws(KernelError) {
    let (windows, wasAsleep) = state.withLock { state in
      let before = (state.windows, state.isAsleep)
      if state.windows == 0 { state.isAsleep = true }
      return before
    }
    guard windows > 0 || wasAsleep else { return }
    throw KernelError(
      operation: "enter low power", errno: .resourceBusy, subject: subject(),
      remedy: wasAsleep
        ? "it is in low power already"
        : "\(windows) register windows of the device live, and an access to one would end the process; drop them"
    )
  }

  func awake() { state.withLock { $0.isAsleep = false } }
}

/// What one register window holds: the device stays open and awake.
final class VFIOWindowLease: Sendable {
  let handle: VFIODeviceHandle

  init(of handle: VFIODeviceHandle, _ subject: @autoclosure () -> String) throws(KernelError) {
    try handle.windowCount.addWindow(subject())
    self.handle = handle
  }

  deinit { handle.windowCount.removeWindow() }
}
