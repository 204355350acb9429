// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import DriverCore
internal import Glibc
public import LinuxHandles
internal import PCIBus
internal import SystemPackage

extension VFIODevice {
  /// How long a reset is tried again while the kernel says `EAGAIN`: it cannot take the device's lock while
  /// another thread opens or resets a neighbour, which is a matter of milliseconds.
  private static let resetPatience = Duration.seconds(2)

  /// Resets the function, and forbids DMA as after opening.
  /// - Throws: `KernelError` for `VFIO_DEVICE_RESET`: `EINVAL` where the function has no reset.
  public borrowing func reset() throws(KernelError) {
    let fd = handle.descriptor
    let deadline = Deadline(Self.resetPatience)
    while true {
      do throws(KernelError) {
        try kernelCall("VFIO_DEVICE_RESET", on: "\(address)") { abi_vfio_device_reset(fd) }
        break
      } catch {
        if error.errno == .resourceTemporarilyUnavailable, !deadline.isOver {
          usleep(1000)
          continue
        }
        throw error.errno == .invalidArgument
          ? error.advising("the function offers no reset (no FLR, no power management reset, a shared bus)")
          : error
      }
    }
    try interrupts.restore()
    // The kernel restores the command register that it saved, bus master included.
    try configuration.setBusMaster(false)
  }
}
