// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import SystemPackage

/// Who is at the other end of a ``LocalSocket``, as the kernel noted when the two were connected.
public struct LocalPeer: Hashable, Sendable {
  /// Its process.
  public let processID: Int32
  /// Its effective user.
  public let userID: UInt32
  /// Its effective group.
  public let groupID: UInt32
}

/// One end of a connection to another process of this machine, for messages and descriptors both ways.
///
/// The bounds of messages are kept (`SOCK_SEQPACKET`). One thread may send while another receives.
/// - Source: unix(7), `SCM_RIGHTS`.
public struct LocalSocket: ~Copyable, Sendable {
  /// The descriptor.
  public let descriptor: OwnedDescriptor

  /// Takes over an end that somebody else made, such as a parent process.
  public init(adopting descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

  /// Connects to a ``LocalListener``.
  /// - Throws: `KernelError` for `connect`: `ENOENT`, `ECONNREFUSED` where nobody listens, `EACCES` without
  ///   permission to write at the path, `ENAMETOOLONG` beyond 107 bytes.
  public init(connectingTo path: String) throws(KernelError) {
    descriptor = OwnedDescriptor(
      adopting: try kernelCall("connect", on: path) {
        unsafe path.withCString { unsafe abi_socket_connect($0) }
      })
  }

  /// Who is at the other end.
  /// - Throws: `KernelError` for `getsockopt`.
  public var peer: LocalPeer {
    get throws(KernelError) {
      let fd = descriptor.rawValue
      var (process, user, group): (Int32, UInt32, UInt32) = (0, 0, 0)
      try kernelCall("getsockopt", on: "SO_PEERCRED") {
        unsafe abi_socket_peer(fd, &process, &user, &group)
      }
      return LocalPeer(processID: process, userID: user, groupID: group)
    }
  }

  /// Sends one message; waits while the other side has too many unread.
  /// - Throws: `KernelError` for `sendmsg`: `EPIPE` where the peer is gone (no signal comes), `EINVAL` without
  ///   bytes or with more than 16 descriptors, `EMSGSIZE`.
  public borrowing func send(_ message: borrowing SocketMessage) throws(KernelError) {
    let (fd, bytes, numbers) = (descriptor.rawValue, message.bytes, message.descriptors.numbers)
    try kernelCall("sendmsg", on: "\(bytes.count) bytes, \(numbers.count) descriptors") {
      unsafe abi_socket_send(fd, bytes, UInt64(bytes.count), numbers, UInt32(numbers.count))
    }
  }

  /// Takes the next message, and waits for it.
  /// - Parameters:
  ///   - byteCount: The most bytes that it may have.
  ///   - descriptorCount: The most descriptors that it may have.
  /// - Returns: The message, or nil where the peer is gone and has left none.
  /// - Throws: `KernelError` for `recvmsg`: `EMSGSIZE` for a message with more than that; it is lost then, and
  ///   its descriptors are closed.
  public borrowing func receive(
    upTo byteCount: Int, descriptors descriptorCount: Int = 0
  ) throws(KernelError) -> SocketMessage? {
    precondition(byteCount > 0 && (0...SocketMessage.most).contains(descriptorCount), "room for a message")
    let fd = descriptor.rawValue
    var bytes = [UInt8](repeating: 0, count: byteCount)
    var numbers = [CInt](repeating: -1, count: descriptorCount)
    var taken: UInt32 = 0
    let count = try kernelCall("recvmsg", on: "descriptor \(fd)") {
      taken = UInt32(descriptorCount)
      let result = unsafe abi_socket_receive(fd, &bytes, UInt64(byteCount), &numbers, &taken)
      // A peer that ended with messages of ours unread is gone too.
      return result == -Int64(Errno.connectionReset.rawValue) ? 0 : result
    }
    // Owned at once, whatever follows.
    let descriptors = DescriptorList(adopting: Array(numbers.prefix(Int(taken))))
    guard count > 0 else { return nil }
    bytes.removeSubrange(Int(count)...)
    return SocketMessage(bytes, descriptors: descriptors)
  }

  /// Waits until a message is there, or the peer is gone.
  /// - Returns: Whether so before the time was over.
  /// - Throws: `KernelError` for `ppoll`.
  public borrowing func wait(for limit: Duration) throws(KernelError) -> Bool {
    let fd = descriptor.rawValue
    return try descriptor.waitUntilReadable(for: limit, on: "descriptor \(fd)")
  }

  /// Ends the connection for both sides: whoever waits at it, in any thread, finds the peer gone.
  public borrowing func shutDown() { _ = abi_socket_shut_down(descriptor.rawValue) }

  /// Closes this end.
  public consuming func close() throws(KernelError) { try descriptor.close() }

  /// The end as a plain descriptor, to be sent or inherited.
  public consuming func intoDescriptor() -> OwnedDescriptor { descriptor }
}

/// Two connected ends: one to keep, one to give away.
///
/// Frozen, so that its owner can take it apart.
@frozen
public struct LocalSocketPair: ~Copyable, Sendable {
  /// One end.
  public let near: LocalSocket
  /// The other.
  public let far: LocalSocket

  /// Makes a connection.
  /// - Throws: `KernelError` for `socketpair`: `EMFILE` at the process's limit of descriptors.
  public init() throws(KernelError) {
    var ends: [CInt] = [-1, -1]
    try kernelCall("socketpair") { unsafe abi_socket_pair(&ends) }
    near = LocalSocket(adopting: OwnedDescriptor(adopting: ends[0]))
    far = LocalSocket(adopting: OwnedDescriptor(adopting: ends[1]))
  }
}
