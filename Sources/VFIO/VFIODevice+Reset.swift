// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import DriverCore
internal import Glibc
public import LinuxHandles
internal import PCIBus
internal import SystemPackage

extension VFIODevice {
  /// How long a reset is tried again while the kernel says `EAGAIN` or `EBUSY`: it cannot take a device's lock
  /// while another thread opens or resets a neighbour, which is a matter of milliseconds.
  private static let resetPatience = Duration.seconds(2)

  /// Resets the function, and forbids DMA as after opening.
  ///
  /// Vectors stay armed; a line waits no more for `rearm()`.
  /// - Throws: `KernelError` for `VFIO_DEVICE_RESET`: `EINVAL` where the function has no reset; `EAGAIN` where
  ///   the kernel had no time for it in 2 s, with the number of tries.
  public borrowing func reset() throws(KernelError) {
    var tries = 0
    try resetFunction(tries: &tries)
    try interrupts.restore()
    // The kernel restores the command register that it saved, bus master included.
    try configuration.setBusMaster(false)
  }

  /// Resets the function alone; its command register is as before.
  /// - Parameter tries: Counts how often it was tried.
  borrowing func resetFunction(tries: inout Int) throws(KernelError) {
    do throws(KernelError) {
      try Self.retryingReset(&tries) { () throws(KernelError) in
        try handle.call("VFIO_DEVICE_RESET", on: "\(address)") { abi_vfio_device_reset($0) }
      }
    } catch {
      throw error.errno == .invalidArgument
        ? error.advising("the function offers no reset (no FLR, no power management reset, a shared bus)")
        : error
    }
  }

  /// Resets until the kernel has time for it, or patience is over.
  static func retryingReset(
    _ tries: inout Int, _ body: () throws(KernelError) -> Void
  ) throws(KernelError) {
    let deadline = Deadline(resetPatience)
    while true {
      tries += 1
      do throws(KernelError) {
        return try body()
      } catch {
        guard [.resourceTemporarilyUnavailable, .resourceBusy].contains(error.errno) else { throw error }
        if deadline.isOver {
          throw error.advising(
            "tried \(tries) times in \(resetPatience); another thread keeps a device's lock")
        }
        usleep(1000)
      }
    }
  }
}
