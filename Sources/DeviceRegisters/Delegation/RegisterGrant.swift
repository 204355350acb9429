// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import SystemPackage

/// Registers in the form in which they go to another process: one descriptor, and what it is.
///
/// Whoever has it makes a window of it; nothing else is needed, and nothing else is reached.
public struct RegisterGrant: ~Copyable, Sendable {
  /// Whether the descriptor is a dma-buf, or a connection to a ``RegisterBroker``.
  public let mappability: DMABuf.Mappability
  /// The length of the registers, in bytes.
  public let byteCount: Int
  private let descriptor: OwnedDescriptor

  /// Grants what a dma-buf stands for, to be mapped.
  public init(_ dmaBuf: consuming DMABuf) {
    mappability = .mappable
    byteCount = dmaBuf.byteCount
    descriptor = dmaBuf.intoDescriptor()
  }

  /// Grants one more client's access to what a broker serves.
  /// - Throws: `KernelError`; see ``RegisterBroker/connect()``.
  public init(from broker: RegisterBroker) throws(KernelError) {
    mappability = .brokerOnly
    byteCount = broker.byteCount
    descriptor = try broker.connect().intoDescriptor()
  }

  private init(_ mappability: DMABuf.Mappability, _ byteCount: Int, _ descriptor: consuming OwnedDescriptor) {
    self.mappability = mappability
    self.byteCount = byteCount
    self.descriptor = descriptor
  }

  // "registers" in ASCII, cut to eight.
  private static var mark: UInt64 { 0x7265_7473_6967_6572 }

  /// Sends it to another process; this one keeps nothing of it.
  /// - Throws: `KernelError` for `sendmsg`.
  public consuming func send(over socket: borrowing LocalSocket) throws(KernelError) {
    let words = [Self.mark, mappability == .mappable ? 1 : 2, UInt64(byteCount)]
    var descriptors = DescriptorList()
    descriptors.append(descriptor)
    try socket.send(SocketMessage(words: words, descriptors: descriptors))
  }

  /// Takes the next message of a connection, which must be a grant; waits for it.
  /// - Throws: `KernelError` for `recvmsg`; `ECONNRESET` where the peer is gone; `EBADMSG` where the message is
  ///   something else. What came with it is closed then.
  public static func receive(from socket: borrowing LocalSocket) throws(KernelError) -> RegisterGrant {
    guard var message = try socket.receive(upTo: 24, descriptors: 1) else {
      throw KernelError(operation: "receive registers", errno: .connectionReset, subject: "local socket")
    }
    let words = message.words(3) ?? [0, 0, 0]
    guard words[0] == mark, words[1] == 1 || words[1] == 2, let byteCount = Int(exactly: words[2]),
      byteCount > 0, let descriptor = message.descriptors.takeFirst()
    else {
      throw KernelError(operation: "receive registers", errno: .badMessage, subject: "local socket")
    }
    return RegisterGrant(words[1] == 1 ? .mappable : .brokerOnly, byteCount, descriptor)
  }

  /// Opens the registers as a window.
  ///
  /// Every access after they were taken away reads all ones and leaves an error (`isRevokedAccess`) in
  /// `takeFault()`; no signal ends the process.
  /// - Throws: `KernelError`; see ``DMABuf/window(_:)``.
  public consuming func window() throws(KernelError) -> RegisterWindow {
    let (mappability, byteCount) = (mappability, byteCount)
    switch mappability {
    case .mappable:
      // The file's own length counts, not what the sender says of it.
      return try DMABuf(adopting: descriptor).window()
    case .brokerOnly:
      return RegisterWindow(
        byteCount: byteCount, backing: BrokeredRegisters(LocalSocket(adopting: descriptor)))
    }
  }
}
