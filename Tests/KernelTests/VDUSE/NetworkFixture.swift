// SPDX-License-Identifier: Apache-2.0
import CNetwork
import Foundation
import LinuxHandles
import Synchronization
import Testing

/// A network namespace of this test; it goes with its last interface and thread.
final class Namespace: Sendable {
  struct Failure: Error { let call: String, errno: CInt }

  private let descriptor: CInt

  init() throws {
    let result = Mutex<CInt>(-EIO)
    // A thread of its own, which ends: the others stay where they are.
    do {
      let thread = try OwnedThread { result.withLock { $0 = network_enter_new() } }
      _ = consume thread
    }
    descriptor = result.withLock { $0 }
    guard descriptor >= 0 else { throw Failure(call: "unshare", errno: -descriptor) }
  }
  deinit { close(descriptor) }

  /// Does something within the namespace, on a thread of its own, and waits for it.
  /// - Returns: What `body` answers: a value >= 0.
  @discardableResult
  func run(_ call: String, _ body: @escaping @Sendable () -> CInt) throws -> CInt {
    let result = try start(body)
    let value = result.wait()
    guard value >= 0 else { throw Failure(call: call, errno: -value) }
    return value
  }

  /// As the other one, without waiting.
  func start(_ body: @escaping @Sendable () -> CInt) throws -> Work {
    let namespace = descriptor
    return try Work {
      let entered = network_enter(namespace)
      return entered < 0 ? entered : body()
    }
  }

  /// What a thread does, and answers at its end.
  final class Work: Sendable {
    private let answer: Answer
    private let thread: Mutex<Thread>

    private final class Answer: Sendable { let value = Mutex<CInt>(-EIO) }
    private struct Thread: ~Copyable { var owned: OwnedThread? }

    init(_ body: @escaping @Sendable () -> CInt) throws {
      let answer = Answer()
      self.answer = answer
      thread = Mutex(
        Thread(
          owned: try OwnedThread {
            let value = body()
            answer.value.withLock { $0 = value }
          }))
    }

    func wait() -> CInt {
      let owned = thread.withLock { $0.owned.take() }
      _ = consume owned
      return answer.value.withLock { $0 }
    }
  }

  /// Takes the interface that a device on the vdpa bus became, and gives it an address.
  func take(_ device: String, _ address: UInt32) throws {
    let interface = try Self.interface(of: device)
    let moved = unsafe network_move(interface, descriptor)
    guard moved >= 0 else { throw Failure(call: "moving \(interface)", errno: -moved) }
    try run("configuring \(interface)") { unsafe network_configure(interface, address, 24) }
  }

  /// What the kernel calls it, while it is in the namespace of the test.
  static func interface(of device: String) throws -> String {
    let folder = "/sys/bus/vdpa/devices/\(device)"
    let end = ContinuousClock.now + .seconds(20)
    while ContinuousClock.now < end {
      let virtio = try? FileManager.default.contentsOfDirectory(atPath: folder).first {
        $0.hasPrefix("virtio")
      }
      let names = try? virtio.map {
        try FileManager.default.contentsOfDirectory(atPath: "\(folder)/\($0)/net")
      }
      if let name = names?.first { return name }
      usleep(20_000)
    }
    throw Failure(call: "finding the interface of \(device)", errno: ENODEV)
  }
}

/// Two interfaces, each in a namespace of its own: 10.77.0.1 and 10.77.0.2.
final class NetworkPair: Sendable {
  static let addresses: [UInt32] = [0x0a4d_0001, 0x0a4d_0002]
  let sides: [Namespace]

  init(_ names: [String]) throws {
    sides = try [Namespace(), Namespace()]
    for (index, name) in names.enumerated() { try sides[index].take(name, Self.addresses[index]) }
  }

  /// An echo from one side to the other.
  func ping(from side: Int = 0, byteCount: Int = 56, milliseconds: CInt = 20_000) throws {
    try sides[side].run("ping with \(byteCount) bytes") {
      network_ping(Self.addresses[1 - side], CInt(byteCount), milliseconds)
    }
  }

  /// A stream from one side to the other: its two ends, which answer when all came.
  func transfer(_ byteCount: UInt64, from side: Int = 0, port: UInt16) throws -> [Namespace.Work] {
    let listener = try sides[1 - side].run("listen") { network_listen(port) }
    let receiver = try sides[1 - side].start {
      let socket = network_accept(listener)
      close(listener)
      defer { close(socket) }
      return socket < 0 ? socket : network_receive(socket, byteCount, UInt64(port))
    }
    let sender = try sides[side].start {
      let socket = network_connect(Self.addresses[1 - side], port, 60_000)
      defer { close(socket) }
      return socket < 0 ? socket : network_send(socket, byteCount, UInt64(port))
    }
    return [sender, receiver]
  }

  /// Streams in both directions at once, each of them whole and in order.
  func exchange(_ byteCount: UInt64, port: UInt16 = 7000) throws {
    let ends = try transfer(byteCount, from: 0, port: port) + transfer(byteCount, from: 1, port: port + 1)
    for (index, end) in ends.enumerated() {
      let answer = end.wait()
      #expect(answer >= 0, "end \(index): errno \(-answer)")
    }
  }
}
