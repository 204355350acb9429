// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import LinuxHandles
internal import SystemPackage

/// The right to change drivers: one process of the machine has it at a time.
///
/// Closing the file gives it back,
/// and so does the end of a process, however it comes.
struct BindingLock: ~Copyable {
  private let descriptor: OwnedDescriptor

  /// Waits for the lock.
  /// - Throws: `KernelError` for `flock`: `EWOULDBLOCK` where another process keeps it for `limit`.
  init(root: SystemRoot, limit: Duration) throws(KernelError) {
    let path = root.path("\(BindingJournal.home)/lock")
    let descriptor = OwnedDescriptor(
      adopting: try kernelCall("open", on: path) { unsafe abi_create(path, O_RDWR, 0o644) })
    try Self.lock(descriptor.rawValue, path, limit)
    self.descriptor = descriptor
  }

  private static func lock(_ fd: CInt, _ path: String, _ limit: Duration) throws(KernelError) {
    let end = ContinuousClock.now + limit
    while true {
      do throws(KernelError) {
        try kernelCall("flock", on: path) { abi_flock(fd, LOCK_EX | LOCK_NB) }
        return
      } catch {
        guard error.errno == .wouldBlock else { throw error }
        if ContinuousClock.now >= end {
          let holders = DeviceHolders.processes(holding: path).map(\.description)
          throw error.advising(
            "Another process is changing drivers\(holders.isEmpty ? "" : ": \(holders.joined(separator: ", "))")."
          )
        }
      }
      try kernelCall("nanosleep") { abi_sleep(20_000_000) }
    }
  }
}
