// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// The client's side of registers that a ``RegisterBroker`` of another process serves: each access is a message
/// there and one back.
public final class BrokeredRegisters: RegisterBacking {
  private struct State: ~Copyable {
    let socket: LocalSocket
    var sequence: UInt32 = 0
  }
  private let state: Mutex<State>
  private let patience: Duration
  private let fault = FirstFault()

  /// Makes a backing over a connection that the broker's owner gave away.
  /// - Parameter patience: How long the owner may take for one access; an access is one of its own and a few
  ///   system calls, so that seconds mean that its process was stopped.
  public init(_ socket: consuming LocalSocket, patience: Duration = .seconds(5)) {
    state = Mutex(State(socket: socket))
    self.patience = patience
  }

  /// Asks the broker for a word.
  public func load(at byteOffset: Int, byteWidth: Int) throws(KernelError) -> UInt64 {
    try ask(.load, at: byteOffset, byteWidth, 0)
  }

  /// Asks the broker to write a word; returns when it has.
  public func store(_ value: UInt64, at byteOffset: Int, byteWidth: Int) throws(KernelError) {
    _ = try ask(.store, at: byteOffset, byteWidth, value)
  }

  private func ask(
    _ operation: BrokerRequest.Operation, at byteOffset: Int, _ byteWidth: Int, _ value: UInt64
  ) throws(KernelError) -> UInt64 {
    let subject = "brokered registers at \(byteOffset)"
    let patience = patience
    let reply = try state.withLock { state throws(KernelError) in
      state.sequence &+= 1
      let request = BrokerRequest(
        sequence: state.sequence, operation: operation, byteWidth: byteWidth, byteOffset: byteOffset,
        value: value)
      return try Self.exchange(request, over: state.socket, subject, patience)
    }
    if reply.isRevoked {
      throw RevokedAccess.error(
        on: subject,
        because: "the registers were taken away from their owner; the next access asks anew")
    }
    guard reply.errno == 0 else {
      throw KernelError(
        operation: "ask register broker", errno: Errno(rawValue: reply.errno), subject: subject)
    }
    return reply.value
  }

  private static func exchange(
    _ request: BrokerRequest, over socket: borrowing LocalSocket, _ subject: String, _ patience: Duration
  ) throws(KernelError) -> BrokerReply {
    let end = ContinuousClock.now + patience
    do throws(KernelError) {
      try socket.send(SocketMessage(words: request.words))
    } catch {
      throw error.errno == .brokenPipe ? gone(subject) : error
    }
    while try socket.wait(for: ContinuousClock.now.duration(to: end)) {
      guard let message = try socket.receive(upTo: 8 * BrokerReply.wordCount) else { throw gone(subject) }
      guard let reply = message.words(BrokerReply.wordCount).flatMap({ BrokerReply(words: $0) }) else {
        throw KernelError(
          operation: "ask register broker", errno: .badMessage, subject: subject,
          remedy: "the other side of the connection is no register broker")
      }
      // What comes late, for a request that was given up, is nobody's.
      if reply.sequence == request.sequence { return reply }
    }
    throw KernelError(
      operation: "ask register broker", errno: .timedOut, subject: subject,
      remedy: "the broker's process does not answer within \(patience)")
  }

  private static func gone(_ subject: String) -> KernelError {
    RevokedAccess.error(on: subject, because: "the broker is gone: its process ended or let go of the device")
  }

  /// The first error of an access that could not report it, and forgets it.
  public func takeFault() -> KernelError? { fault.take() }

  /// Keeps the first error.
  public func recordFault(_ error: KernelError) { fault.record(error) }
}
