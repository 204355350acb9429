// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// The owner's side of registers that another process reaches by asking: one message, one access.
///
/// It stands in for a dma-buf where the kernel cannot map one: the same parts, the same bounds, the same
/// behaviour when the registers are taken away. Each client has a thread of this process; accesses of several
/// clients happen one after the other. Nothing that a client says is trusted: what is not a well-formed access to
/// its parts is refused (`EINVAL`) and touches nothing.
///
/// When the broker goes, its clients find their registers revoked.
public final class RegisterBroker: Sendable {
  private let registers: Registers
  private let clients = Mutex<[Client]>([])

  /// Serves parts of a window.
  /// - Parameters:
  ///   - window: Of the whole region. One that is guarded or reached by the kernel's pread (see
  ///     `VFIODevice.guardsWindows`), or losing the device ends this process.
  ///   - ranges: What clients reach.
  public init(_ window: consuming RegisterWindow, ranges: RegisterRanges) {
    registers = Registers(window, ranges)
  }

  /// Makes a connection for one more client.
  /// - Returns: The end to give away, in a ``RegisterGrant``; whoever holds it is the client.
  /// - Throws: `KernelError` for `socketpair` or `pthread_create`.
  public func connect() throws(KernelError) -> LocalSocket {
    let pair = try LocalSocketPair()
    let connection = Connection(pair.near)
    let registers = registers
    let client = Client(connection, try OwnedThread { Self.serve(connection, registers) })
    clients.withLock { clients in
      clients.removeAll { $0.connection.isOver.load(ordering: .acquiring) }
      clients.append(client)
    }
    return pair.far
  }

  /// How many bytes a client sees.
  public var byteCount: Int { registers.ranges.byteCount }

  /// How many clients are connected.
  public var clientCount: Int {
    clients.withLock { $0.count { !$0.connection.isOver.load(ordering: .acquiring) } }
  }

  private static func serve(_ connection: Connection, _ registers: Registers) {
    var isOpen = true
    while isOpen {
      do throws(KernelError) {
        guard let message = try connection.socket.receive(upTo: 8 * BrokerRequest.wordCount) else { break }
        let reply = registers.answer(message.words(BrokerRequest.wordCount) ?? [])
        try connection.socket.send(SocketMessage(words: reply.words))
      } catch {
        isOpen = error.errno == .messageTooLong && refuse(connection)
      }
    }
    connection.isOver.store(true, ordering: .releasing)
  }

  /// Answers a message that could not even be taken; whether the client still listens.
  private static func refuse(_ connection: Connection) -> Bool {
    let reply = BrokerReply(sequence: 0, errno: Errno.messageTooLong.rawValue)
    do throws(KernelError) {
      try connection.socket.send(SocketMessage(words: reply.words))
      return true
    } catch {
      return false
    }
  }

  /// This end of one client's connection.
  private final class Connection: Sendable {
    let socket: LocalSocket
    let isOver = Atomic<Bool>(false)
    init(_ socket: consuming LocalSocket) { self.socket = socket }
  }

  /// The thread that serves a client; ends, and is waited for, with this.
  private final class Client: Sendable {
    let connection: Connection
    private let thread: OwnedThread

    init(_ connection: Connection, _ thread: consuming OwnedThread) {
      self.connection = connection
      self.thread = thread
    }

    deinit { connection.socket.shutDown() }
  }
}

/// What a broker's threads share.
final class Registers: Sendable {
  let ranges: RegisterRanges
  private let window: Mutex<RegisterWindow>

  init(_ window: consuming RegisterWindow, _ ranges: RegisterRanges) {
    self.ranges = ranges
    self.window = Mutex(window)
  }

  /// Makes the access that a message asks for, if it is one.
  func answer(_ words: [UInt64]) -> BrokerReply {
    guard let request = BrokerRequest(words: words),
      let place = ranges.place(of: request.byteOffset, byteWidth: request.byteWidth)
    else {
      let sequence = words.first.map { UInt32(truncatingIfNeeded: $0) } ?? 0
      return BrokerReply(sequence: sequence, errno: Errno.invalidArgument.rawValue)
    }
    return window.withLock { window in
      let value = Self.perform(request, at: place, on: window)
      // Under the lock, so that nobody is told of somebody else's trouble.
      guard let fault = window.takeFault() else {
        return BrokerReply(sequence: request.sequence, value: value)
      }
      return BrokerReply(
        sequence: request.sequence, errno: fault.errno.rawValue, isRevoked: fault.isRevokedAccess)
    }
  }

  private static func perform(
    _ request: BrokerRequest, at place: Int, on window: borrowing RegisterWindow
  ) -> UInt64 {
    switch (request.operation, request.byteWidth) {
    case (.load, 1): return UInt64(window.load(UInt8.self, at: place))
    case (.load, 2): return UInt64(window.load(UInt16.self, at: place))
    case (.load, 4): return UInt64(window.load(UInt32.self, at: place))
    case (.load, _): return window.load(UInt64.self, at: place)
    case (.store, 1): window.store(UInt8(truncatingIfNeeded: request.value), at: place)
    case (.store, 2): window.store(UInt16(truncatingIfNeeded: request.value), at: place)
    case (.store, 4): window.store(UInt32(truncatingIfNeeded: request.value), at: place)
    case (.store, _): window.store(request.value, at: place)
    }
    return 0
  }
}
