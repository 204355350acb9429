// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import Foundation
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

/// Registers that are reached by asking their owner.
@Suite struct RegisterBrokerTests {
  private let file: RevocableFile
  private let broker: RegisterBroker

  /// Three pages, of which clients get the third and the first.
  init() throws {
    file = try RevocableFile(pageCount: 3)
    broker = RegisterBroker(
      try file.dmaBuf().window(),
      ranges: try RegisterRanges([8192..<12288, 0..<4096], within: 12288, of: "file"))
  }

  private func client() throws -> RegisterWindow { try RegisterGrant(from: broker).window() }

  /// The next answer, in words; empty where there is none.
  private func answer(on socket: borrowing LocalSocket) throws -> [UInt64] {
    guard let message = try socket.receive(upTo: 24) else { return [] }
    return message.words(3) ?? []
  }

  @Test func everyWidthReachesItsPlace() throws {
    let window = try client()
    #expect(window.byteCount == 8192 && window.mappedByteCount == 0)
    window.store(UInt64(0x1122_3344_5566_7788), at: 8)
    #expect(file[8192 + 8] == 0x5566_7788 && file[8192 + 12] == 0x1122_3344)
    window.store(UInt8(0xaa), at: 9)
    window.store(UInt16(0xbbcc), at: 10)
    #expect(window.load(UInt32.self, at: 8) == 0xbbcc_aa88)
    #expect(window.load(UInt8.self, at: 9) == 0xaa && window.load(UInt16.self, at: 10) == 0xbbcc)
    #expect(window.load(UInt64.self, at: 8) == 0x1122_3344_bbcc_aa88)
    window.store(UInt32(0x77), at: 4096 + 4)
    #expect(file[4] == 0x77)
    #expect(window.takeFault() == nil)
  }

  @Test func theGrantSaysWhatItIs() throws {
    let pair = try LocalSocketPair()
    try RegisterDelegation(broker).grant().send(over: pair.near)
    let grant = try RegisterGrant.receive(from: pair.far)
    #expect(grant.mappability == .brokerOnly && grant.byteCount == 8192)
    let window = try grant.window()
    window.store(UInt32(1), at: 0)
    #expect(file[8192] == 1)
  }

  /// What a client may say wrongly, one by one: nothing is touched, and the connection goes on.
  @Test(
    arguments: [
      [0, 0, 0], [1 << 32, 0, 0], [3 << 32 | 4 << 40, 0, 0], [1 << 32 | 3 << 40, 0, 0],
      [1 << 32 | 16 << 40, 0, 0],
      [2 << 32 | 4 << 40 | 1 << 48, 0, 0xffff], [2 << 32 | 4 << 40, 2, 0xffff],
      [2 << 32 | 4 << 40, 8192, 0xffff],
      [2 << 32 | 8 << 40, 8188, 0xffff], [2 << 32 | 4 << 40, .max, 0xffff],
      [2 << 32 | 4 << 40, .max - 3, 0xffff],
      [2 << 32 | 4 << 40, 1 << 63, 0xffff], [2 << 32 | 4 << 40, 0x7fff_ffff_ffff_fffc, 0xffff], [], [1],
      [1, 2],
      [2 << 32 | 4 << 40, 0, 0xffff, 0], [UInt64](repeating: .max, count: 64),
    ] as [[UInt64]])
  func whatIsNoAccessIsRefused(_ words: [UInt64]) throws {
    let socket = try broker.connect()
    let message = words.isEmpty ? SocketMessage([1]) : SocketMessage(words: words)
    try socket.send(message)
    let reply = try answer(on: socket)
    #expect(reply.count == 3 && [22, 90].contains(reply[0] >> 32), "EINVAL or EMSGSIZE, not \(reply)")
    try socket.send(SocketMessage(words: [5 | 1 << 32 | 4 << 40, 0, 0]))
    let good = try answer(on: socket)
    #expect(good == [5, 0, 0])
    for place in stride(from: 0, to: 12288, by: 4) { #expect(file[place] == 0) }
  }

  @Test func descriptorsThatComeAlongAreRefusedAndClosed() throws {
    let leaks = LeakCheck(concerning: { [path = file.path] in $0.hasPrefix(path) })
    let socket = try broker.connect()
    do {
      var descriptors = DescriptorList()
      descriptors.append(try file.file.duplicate())
      try socket.send(SocketMessage(words: [2 << 32 | 4 << 40, 0, 9], descriptors: descriptors))
    }
    let reply = try answer(on: socket)
    #expect(reply.first == 90 << 32)
    #expect(file[8192] == 0)
    try leaks.verify()
  }

  /// Anything at all, from a fixed seed: the part between the two that clients have is never touched.
  @Test func noiseTouchesNothingElse() throws {
    let socket = try broker.connect()
    var noise = Noise(state: 42)
    for _ in 0..<3000 {
      let count = Int(noise.next() % 34) + 1
      var bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: noise.next()) }
      // Half of it looks like a store, so that some of it is one.
      if count >= 24 && noise.next() & 1 == 0 {
        bytes.replaceSubrange(
          4..<16,
          with: [2, 4, 0, 0, UInt8(noise.next() & 0xfc), UInt8(noise.next() & 0x3f), 0, 0, 0, 0, 0, 0])
        bytes.removeSubrange(24...)
      }
      try socket.send(SocketMessage(bytes))
      let reply = try answer(on: socket)
      #expect(reply.count == 3)
    }
    for place in stride(from: 4096, to: 8192, by: 4) { #expect(file[place] == 0) }
    let touched = stride(from: 0, to: 4096, by: 4).contains { file[$0] != 0 }
    #expect(touched, "some of the noise was an access to the clients' parts")
  }

  @Test func aRevocationReachesTheClientAndEnds() throws {
    let window = try client()
    let other = try client()
    file.revoke()
    #expect(window.load(UInt16.self, at: 0) == .max)
    window.store(UInt32(0), at: 0)
    let fault = window.takeFault()
    #expect(fault?.isRevokedAccess == true, "\(fault?.description ?? "nothing")")
    #expect(other.takeFault() == nil, "nobody is told of another's access")
    file.give()
    window.store(UInt32(6), at: 0)
    #expect(window.load(UInt32.self, at: 0) == 6 && window.takeFault() == nil)
  }

  @Test func aBrokerThatGoesRevokes() throws {
    let window: RegisterWindow
    do {
      let own = RegisterBroker(
        try file.dmaBuf().window(), ranges: try RegisterRanges([0..<4096], within: 12288, of: "file"))
      window = try RegisterGrant(from: own).window()
      #expect(window.load(UInt32.self, at: 0) == 0 && own.clientCount == 1)
    }
    #expect(window.load(UInt32.self, at: 0) == .max)
    #expect(window.takeFault()?.isRevokedAccess == true)
  }

  @Test func clientsThatGoAreForgotten() throws {
    for _ in 0..<5 { _ = try client() }
    let end = ContinuousClock.now + .seconds(60)
    while broker.clientCount > 0 && ContinuousClock.now < end { usleep(1000) }
    #expect(broker.clientCount == 0)
  }

  @Test func aBrokerThatSleepsIsLate() throws {
    let pair = try LocalSocketPair()
    let backing = BrokeredRegisters(pair.near, patience: .milliseconds(30))
    let window = RegisterWindow(byteCount: 4096, backing: backing)
    #expect(window.load(UInt32.self, at: 0) == .max)
    let late = window.takeFault()
    #expect(late?.errno == .timedOut && late?.isRevokedAccess == false)
    // Two late answers to request 1, and the one to request 2: only the last counts.
    for words in [[1, 0, 0xbad], [1, 0, 0xbad], [2, 0, 0x600d]] as [[UInt64]] {
      try pair.far.send(SocketMessage(words: words))
    }
    #expect(window.load(UInt32.self, at: 0) == 0x600d && window.takeFault() == nil)
  }

  @Test(arguments: [[1], [1, 2, 0], [1 | 5000 << 32, 0, 0]] as [[UInt64]])
  func aBrokerThatIsNoneIsNotBelieved(_ words: [UInt64]) throws {
    let pair = try LocalSocketPair()
    let window = RegisterWindow(byteCount: 4096, backing: BrokeredRegisters(pair.near))
    try pair.far.send(SocketMessage(words: words))
    #expect(window.load(UInt32.self, at: 0) == .max)
    #expect(window.takeFault()?.errno == .badMessage)
  }
}

/// Numbers that look random and are the same in each run.
private struct Noise {
  var state: UInt64
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}
