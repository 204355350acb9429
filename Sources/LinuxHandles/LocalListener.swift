// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

/// A path at which other processes of this machine connect.
public struct LocalListener: ~Copyable, Sendable {
  /// Where.
  public let path: String
  private let descriptor: OwnedDescriptor

  /// Makes the path and listens there.
  /// - Parameter mode: Permissions of the path; whoever may write it may connect.
  /// - Throws: `KernelError` for `listen`: `EADDRINUSE` where the path exists, `EACCES`, `ENAMETOOLONG` beyond 107
  ///   bytes.
  public init(at path: String, mode: UInt32 = 0o600) throws(KernelError) {
    self.path = path
    descriptor = OwnedDescriptor(
      adopting: try kernelCall("listen", on: path) {
        unsafe path.withCString { unsafe abi_socket_listen($0, mode, 16) }
      })
  }

  /// Waits for the next connection.
  /// - Throws: `KernelError` for `accept`.
  public borrowing func accept() throws(KernelError) -> LocalSocket {
    let fd = descriptor.rawValue
    return LocalSocket(
      adopting: OwnedDescriptor(adopting: try kernelCall("accept", on: path) { abi_socket_accept(fd) }))
  }

  /// Stops listening and removes the path; dropping a listener leaves the path behind.
  public consuming func close() throws(KernelError) {
    let path = path
    try descriptor.close()
    try kernelRelease("unlink", on: path) { unsafe path.withCString { unsafe abi_unlink($0) } }
  }
}
