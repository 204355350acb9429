// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import Synchronization
import Testing
import VDUSE
import Virtqueues

/// The control thread with a socket in the kernel's place: messages come whole or cut short, in any order.
@Suite struct ControlThreadTests {
  /// Serves no chain.
  struct Nothing: VirtioService {
    func serve(_ queue: inout ServedQueue) -> ServiceNeed { .chains }
  }

  /// A server, and the kernel's end of its device.
  final class Stand: Sendable {
    let kernel: LocalSocket
    let server: VDUSEServer
    private let reports = Reports()

    init() throws {
      let pair = try LocalSocketPair()
      let far = pair.far.intoDescriptor()
      _ = fcntl(far.rawValue, F_SETFL, O_NONBLOCK)
      kernel = pair.near
      let reports = reports
      server = try VDUSEServer(
        VDUSEDevice(adopting: far, name: "socket", apiVersion: .one),
        VDUSEDeviceDescription(name: "socket", deviceID: .block, features: 1 << 33, queueCount: 2),
        features: .all, service: Nothing(), report: { text in reports.list.withLock { $0.append(text) } })
    }

    /// What the server reported.
    var said: [String] { reports.list.withLock { $0 } }

    private final class Reports: Sendable { let list = Mutex<[String]>([]) }

    func send(_ bytes: [UInt8]) throws { try kernel.send(SocketMessage(bytes)) }

    /// The next answer's number and result; nil where none comes.
    func answer() throws -> (UInt32, UInt32)? {
      guard try kernel.wait(for: .seconds(60)), let message = try kernel.receive(upTo: 256) else {
        return nil
      }
      let bytes = message.bytes
      guard bytes.count == 152 else { return nil }
      func word(_ index: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(bytes[4 * index + $1]) << (8 * UInt32($1)) }
      }
      return (word(0), word(1))
    }
  }

  @Test func everyMessageIsAnswered() throws {
    let stand = try Stand()
    // State of a queue that never ran, readiness, a reset, an update, nonsense; many at once.
    let messages: [(UInt32, [UInt32], UInt32)] = [
      (0, [1], 0), (0, [2], 1), (4, [0, 1], 0), (1, [0], 0), (2, [0, 0, .max, .max, 0], 0), (77, [], 1),
      (5, [], 0),
      // The socket tells no features, and a driver that has chosen none is not let go on.
      (1, [11], 1),
    ]
    for (id, message) in messages.enumerated() {
      try stand.send(VDUSEMessageTests.bytes(type: message.0, id: UInt32(id), message.1))
    }
    var results: [UInt32: UInt32] = [:]
    for _ in messages {
      let (id, result) = try #require(try stand.answer())
      #expect(results.updateValue(result, forKey: id) == nil, "answered once")
    }
    for (id, message) in messages.enumerated() { #expect(results[UInt32(id)] == message.2, "message \(id)") }
    #expect(stand.said.contains { $0.contains("unknown type 77") })
    stand.server.stop()
  }

  @Test func aMessageThatIsCutShortDoesNotEndTheThread() throws {
    let stand = try Stand()
    try stand.send(Array(VDUSEMessageTests.bytes(type: 1, id: 1, [0]).prefix(100)))
    try stand.send(VDUSEMessageTests.bytes(type: 0, id: 2, [0]))
    let answer = try #require(try stand.answer())
    #expect(answer == (2, 0) && stand.said.contains { $0.contains("100 bytes") })
  }

  @Test func aKernelThatIsGoneEndsIt() throws {
    let stand = try Stand()
    stand.kernel.shutDown()
    for _ in 0..<500 where stand.said.isEmpty { usleep(10_000) }
    #expect(stand.said.contains { $0.contains("served no longer") })
    stand.server.stop()
  }

  @Test func itEndsWithItsOwner() throws {
    for _ in 0..<20 { _ = try Stand() }
  }
}
