// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import SystemPackage

extension OwnedDescriptor {
  /// Waits until the descriptor can be read.
  /// - Returns: Whether it can, before the time was over.
  /// - Throws: `KernelError` for `ppoll`.
  borrowing func waitUntilReadable(
    for limit: Duration, on subject: @autoclosure () -> String
  ) throws(KernelError) -> Bool {
    let fd = rawValue
    let end = ContinuousClock.now + max(limit, .zero)
    while true {
      let left = ContinuousClock.now.duration(to: end).kernelNanoseconds
      // The remaining time is computed anew after a signal, so EINTR is an answer here and not a repetition.
      let ready = try kernelCall("ppoll", on: subject()) { () -> CInt in
        let result = abi_poll_readable(fd, left)
        return result == -Errno.interrupted.rawValue ? 0 : result
      }
      if ready > 0 { return true }
      if ContinuousClock.now >= end { return false }
    }
  }
}

extension Duration {
  /// As the kernel's timers take it: not negative, and at most 34 years.
  var kernelNanoseconds: Int64 {
    let (seconds, attoseconds) = max(self, .zero).components
    return min(seconds, 1 << 30) * 1_000_000_000 + attoseconds / 1_000_000_000
  }
}
