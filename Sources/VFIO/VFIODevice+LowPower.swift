// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles

extension VFIODevice {
  /// Lets the device fall asleep until the returned value ends.
  /// - Parameter signalsWakeup: Whether ``VFIOLowPower/waitForWakeup(for:)`` is to tell when something woke the
  ///   device. It is awake for good then; without it, it falls asleep again after each access.
  /// - Throws: `KernelError`: `EBUSY` while register windows of the device live, or where it sleeps already;
  ///   `ENOTTY` of `VFIO_DEVICE_FEATURE` before Linux 6.1; for `eventfd`.
  public borrowing func enterLowPower(
    signalsWakeup: Bool = false
  ) throws(KernelError) -> VFIOLowPower {
    try VFIOLowPower(
      of: handle, subject: "\(address)", signalling: signalsWakeup ? try EventFD() : nil)
  }

  /// Lets the device sleep while a body runs, and wakes it.
  /// - Throws: As ``enterLowPower(signalsWakeup:)``, or what the body throws; the device is awake then.
  public borrowing func whileInLowPower<Value>(
    _ body: () throws(KernelError) -> Value
  ) throws(KernelError) -> Value {
    let sleep = try enterLowPower()
    let value = try body()
    try sleep.exit()
    return value
  }
}

extension VFIODeviceHandle {
  func enterLowPower(wakeup: CInt?, subject: String) throws(KernelError) {
    guard let wakeup else { return try set(.lowPowerEntry, subject: subject) }
    var entry = abi_vfio_device_low_power_entry_with_wakeup(wakeup_eventfd: wakeup, reserved: 0)
    try set(.lowPowerEntryWithWakeup, &entry, subject: subject)
  }

  /// Gives the device's power back: as a release, so that a planned failure is told after it was done.
  func leaveLowPower(subject: String) throws(KernelError) {
    let feature = ABI_VFIO_DEVICE_FEATURE_LOW_POWER_EXIT
    try release("VFIO_DEVICE_FEATURE", on: "\(subject), low-power exit") {
      abi_vfio_device_feature($0, feature, ABI_VFIO_DEVICE_FEATURE_SET, nil, 0)
    }
  }
}
