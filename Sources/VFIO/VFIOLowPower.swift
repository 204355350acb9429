// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import Synchronization

/// A device that may sleep: as long as this lives, the kernel may put it into its deepest power state.
///
/// Whatever is asked of the device meanwhile (configuration space, a feature) wakes it for the time of the call.
/// Register windows are not to be had meanwhile. Ends with ``exit()``, or when it is dropped.
/// - Source: `VFIO_DEVICE_FEATURE_LOW_POWER_*`, include/uapi/linux/vfio.h, Linux 6.1.
public struct VFIOLowPower: ~Copyable, Sendable {
  private let lease: VFIOLowPowerLease
  private let wakeup: EventFD?

  init(of handle: VFIODeviceHandle, subject: String, signalling wakeup: consuming EventFD?)
    throws(KernelError)
  {
    // The wakeup's descriptor is needed before it is stored.
    lease = try VFIOLowPowerLease(of: handle, subject: subject, wakeup: wakeup?.descriptor.rawValue)
    self.wakeup = wakeup
  }

  /// Waits until something wakes the device: an event of its own, or an access from elsewhere in the system.
  ///
  /// The device stays awake then, yet this value still ends only with ``exit()``. An access through this process
  /// wakes it as well.
  /// - Returns: Whether it woke in this time; always false where it was not entered with a wakeup.
  public borrowing func waitForWakeup(for limit: Duration) throws(KernelError) -> Bool {
    try wakeup?.wait(for: limit) ?? false
  }

  /// Wakes the device for good: windows may be opened again.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`.
  public consuming func exit() throws(KernelError) { try lease.end() }
}

/// The one exit of a low-power entry, by call or by `deinit`.
final class VFIOLowPowerLease: Sendable {
  private let handle: VFIODeviceHandle
  private let subject: String
  private let isOver = Atomic<Bool>(false)

  init(of handle: VFIODeviceHandle, subject: String, wakeup: CInt?) throws(KernelError) {
    try handle.windowCount.fallAsleep(subject)
    do throws(KernelError) {
      try handle.enterLowPower(wakeup: wakeup, subject: subject)
    } catch {
      handle.windowCount.awake()
      throw error
    }
    self.handle = handle
    self.subject = subject
  }

  func end() throws(KernelError) {
    guard !isOver.exchange(true, ordering: .relaxed) else { return }
    defer { handle.windowCount.awake() }
    try handle.leaveLowPower(subject: subject)
  }

  deinit { _ = try? end() }
}
