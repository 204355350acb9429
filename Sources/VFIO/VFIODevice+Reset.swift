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
  /// - Throws: `KernelError` for `VFIO_DEVICE_RESET`: `EINVAL` where the function has no reset; `EAGAIN` where
  ///   the kernel had no time for it in 2 s, with the number of tries.
  public borrowing func reset() throws(KernelError) {
    _ = try resetFunction()
    // The kernel restores the command register that it saved, bus master included.
    try configuration.setBusMaster(false)
  }

  /// Resets the function alone; its command register is as before.
  /// - Returns: How often it was tried; at least 1.
  borrowing func resetFunction() throws(KernelError) -> Int {
    let fd = handle.descriptor
    let deadline = Deadline(Self.resetPatience)
    var tries = 0
    while true {
      tries += 1
      do throws(KernelError) {
        try kernelCall("VFIO_DEVICE_RESET", on: "\(address)") { abi_vfio_device_reset(fd) }
        return tries
      } catch {
        switch error.errno {
        case .resourceTemporarilyUnavailable:
          if deadline.isOver {
            throw error.advising(
              "tried \(tries) times in \(Self.resetPatience); another thread keeps a neighbour's lock")
          }
          usleep(1000)
        case .invalidArgument:
          throw error.advising(
            "the function offers no reset (no FLR, no power management reset, a shared bus)")
        default: throw error
        }
      }
    }
  }
}
