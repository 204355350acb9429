// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

/// Messages and descriptors between processes.
@Suite struct LocalSocketTests {
  @Test func messagesKeepTheirBoundsAndOrder() throws {
    let pair = try LocalSocketPair()
    try pair.near.send(SocketMessage([1, 2, 3]))
    try pair.near.send(SocketMessage([4]))
    try pair.far.send(SocketMessage(words: [7, .max]))
    let first = try pair.far.receive(upTo: 100)?.bytes
    let second = try pair.far.receive(upTo: 100)?.bytes
    #expect(first == [1, 2, 3] && second == [4])
    let back = try pair.near.receive(upTo: 16)?.bytes.count
    #expect(back == 16)
    #expect(try !pair.near.wait(for: .milliseconds(1)))
  }

  @Test func wordsAreLittleEndianAndExact() {
    let message = SocketMessage(words: [0x0102_0304_0506_0708])
    #expect(message.bytes == [8, 7, 6, 5, 4, 3, 2, 1])
    #expect(message.words(1) == [0x0102_0304_0506_0708])
    #expect(message.words(2) == nil && SocketMessage([1]).words(1) == nil)
  }

  @Test func descriptorsArriveAsTheSameOpenFiles() throws {
    let pair = try LocalSocketPair()
    let file = ProcessFacts.temporaryFile()
    try #require(ftruncate(file.rawValue, 12345) == 0)
    var descriptors = DescriptorList()
    descriptors.append(try file.duplicate())
    descriptors.append(ProcessFacts.temporaryFile())
    try pair.near.send(SocketMessage([9], descriptors: descriptors))
    guard var taken = try pair.far.receive(upTo: 1, descriptors: 2) else { throw Errno.connectionReset }
    #expect(taken.descriptors.count == 2)
    guard let first = taken.descriptors.takeFirst()?.relinquish() else { throw Errno.noData }
    defer { close(first) }
    var facts = stat()
    let isOpen = unsafe fstat(first, &facts) == 0
    #expect(isOpen && facts.st_size == 12345)
    #expect(fcntl(first, F_GETFD) & FD_CLOEXEC != 0)
    #expect(first != file.rawValue)
  }

  @Test func whatIsNotTakenOutIsClosed() throws {
    let witness = ClosingWitness()
    var descriptors = DescriptorList()
    descriptors.append(OwnedDescriptor(adopting: witness.tested))
    #expect(descriptors.count == 1)
    _ = consume descriptors
    let isClosed = witness.seesEnd()
    #expect(isClosed)
  }

  @Test func moreThanThereIsRoomForIsRefusedAndClosed() throws {
    let pair = try LocalSocketPair()
    let witness = ClosingWitness()
    do {
      var descriptors = DescriptorList()
      descriptors.append(OwnedDescriptor(adopting: witness.tested))
      try pair.near.send(SocketMessage([1], descriptors: descriptors))
    }
    let error = #expect(throws: KernelError.self) { _ = try pair.far.receive(upTo: 8) }
    #expect(error?.errno == .messageTooLong && error?.operation == "recvmsg")
    let isClosed = witness.seesEnd()
    #expect(isClosed)
    try pair.near.send(SocketMessage([1, 2, 3, 4]))
    let long = #expect(throws: KernelError.self) { _ = try pair.far.receive(upTo: 3) }
    #expect(long?.errno == .messageTooLong)
    try pair.near.send(SocketMessage([5]))
    #expect(try pair.far.receive(upTo: 3)?.bytes == [5], "the next message is whole")
  }

  @Test func aPeerThatIsGoneIsNoSignal() throws {
    let pair = try LocalSocketPair()
    let near = pair.near
    try near.send(SocketMessage([1]))
    try pair.far.close()
    #expect(try near.wait(for: .seconds(60)))
    let end = try near.receive(upTo: 8)?.bytes
    #expect(end == nil, "also where it left messages unread")
    let error = #expect(throws: KernelError.self) { try near.send(SocketMessage([2])) }
    #expect(error?.errno == .brokenPipe)
  }

  @Test func emptyAndOverlongMessagesAreRefused() throws {
    let pair = try LocalSocketPair()
    let empty = #expect(throws: KernelError.self) { try pair.near.send(SocketMessage([])) }
    #expect(empty?.errno == .invalidArgument)
    var descriptors = DescriptorList()
    for _ in 0...SocketMessage.most { descriptors.append(ProcessFacts.temporaryFile()) }
    let message = SocketMessage([1], descriptors: descriptors)
    let many = #expect(throws: KernelError.self) { try pair.near.send(message) }
    #expect(many?.errno == .invalidArgument)
  }

  @Test func aListenerConnectsProcessesThatMayWriteThePath() throws {
    let path = "/tmp/swift-vfio-\(UUID().uuidString).socket"
    let listener = try LocalListener(at: path)
    let facts = try FileManager.default.attributesOfItem(atPath: path)
    #expect(facts[.posixPermissions] as? Int == 0o600)
    let client = try LocalSocket(connectingTo: path)
    let server = try listener.accept()
    #expect(try server.peer.processID == getpid())
    let peer = try client.peer
    #expect(peer.processID == getpid() && peer.userID == geteuid() && peer.groupID == getegid())
    try client.send(SocketMessage([3]))
    #expect(try server.receive(upTo: 1)?.bytes == [3])
    let busy = #expect(throws: KernelError.self) { _ = try LocalListener(at: path) }
    #expect(busy?.errno == .addressInUse)
    try listener.close()
    let gone = #expect(throws: KernelError.self) { _ = try LocalSocket(connectingTo: path) }
    #expect(gone?.errno == .noSuchFileOrDirectory && gone?.subject == path)
  }

  @Test func shuttingDownWakesWhoeverWaits() throws {
    let pair = try LocalSocketPair()
    let far = SharedSocket(pair.far)
    let thread = try OwnedThread {
      let bytes = try? far.socket.receive(upTo: 1)?.bytes
      precondition(bytes == nil)
    }
    usleep(20_000)
    pair.near.shutDown()
    _ = consume thread  // waits for its end
  }

  #if DEBUG
    @Test func everyCallMayFail() async {
      await #expect(processExitsWith: .success) {
        let swept = ProcessFacts.sweep {
          let path = "/tmp/swift-vfio-\(UUID().uuidString).socket"
          defer { unsafe unlink(path) }
          let listener = try LocalListener(at: path)
          let client = try LocalSocket(connectingTo: path)
          let server = try listener.accept()
          _ = try server.peer
          var descriptors = DescriptorList()
          descriptors.append(try client.descriptor.duplicate())
          try client.send(SocketMessage([1], descriptors: descriptors))
          _ = try server.wait(for: .seconds(60))
          _ = try server.receive(upTo: 8, descriptors: 1)
          _ = try LocalSocketPair()
          try client.close()
          try listener.close()
        }
        ProcessFacts.require(swept >= 11, "\(swept) calls")
      }
    }
  #endif
}

/// A socket for two threads.
private final class SharedSocket: Sendable {
  let socket: LocalSocket
  init(_ socket: consuming LocalSocket) { self.socket = socket }
}
