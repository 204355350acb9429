// SPDX-License-Identifier: Apache-2.0
import LinuxHandles
import Synchronization
import Testing
import VDUSE
import VDUSENet
import Virtqueues

/// Two interfaces whose drivers are in this process.
@Suite struct NetworkBridgeTests {
  /// One side: a port, and its driver's two queues.
  final class Side {
    let port: NetworkPort
    let receiving, sending: GuestQueue
    var receiver, sender: ServedQueue

    init(_ port: NetworkPort, isPacked: Bool, features: UInt64) throws {
      self.port = port
      let features = features | VirtioFeature.eventIndex | VirtioFeature.indirectDescriptors
      receiving = try GuestQueue(0, isPacked: isPacked, features: features)
      sending = try GuestQueue(1, isPacked: isPacked, features: features)
      receiver = try receiving.serve()
      sender = try sending.serve()
      begin()
    }

    func begin() { port.begin(0, features: receiving.features, bell: receiving.orders.bell) }
  }

  static let mergedBuffers: UInt64 = 1 << 15
  static let guestChecksum: UInt64 = 1 << 1

  /// A header of zeroes, but for what is given, and a frame.
  static func packet(
    _ byteCount: Int, flags: UInt8 = 0, segmentation: UInt8 = 0, start: Int = 0, offset: Int = 0
  ) -> [UInt8] {
    [flags, segmentation, 0, 0, 0, 0, UInt8(start & 255), UInt8(start >> 8), UInt8(offset & 255)]
      + [UInt8(offset >> 8), 0, 0] + (0..<byteCount).map { UInt8(truncatingIfNeeded: $0 * 5 + byteCount) }
  }

  private static func sides(
    isPacked: Bool = false, features: UInt64 = mergedBuffers | guestChecksum, mtu: Int = 1500
  ) throws -> (Side, Side) {
    let bridge = NetworkBridge(MACAddress(for: "a"), MACAddress(for: "b"), mtu: mtu)
    return (
      try Side(bridge.first, isPacked: isPacked, features: features),
      try Side(bridge.second, isPacked: isPacked, features: features)
    )
  }

  /// Sends packets from a side, each as a chain that is cut.
  private func send(_ packets: [[UInt8]], from side: Side) throws {
    for (token, packet) in packets.enumerated() {
      #expect(side.sending.offer(token % 16, readable: packet, pieceByteCount: 1000))
      #expect(try side.sender.serve(by: side.port) == .chains)
      #expect(try side.sending.takeUsed()?.token == token % 16, "it is given back whatever became of it")
    }
  }

  @Test(arguments: [false, true])
  func whatOneSendsTheOtherReceives(_ isPacked: Bool) throws {
    let (a, b) = try Self.sides(isPacked: isPacked)
    for (from, to) in [(a, b), (b, a)] {
      let packets = [14, 60, 1514, 1518].map { Self.packet($0) }
      try send(packets, from: from)
      #expect(try to.receiver.serve(by: to.port) == .chains, "it waits for room")
      for token in 0..<6 { #expect(to.receiving.offer(token, writable: 2048)) }
      #expect(try to.receiver.serve(by: to.port) == .bell, "and leaves the rest untaken")
      let used = try to.receiving.takeAllUsed()
      let expected = packets.map { $0.prefix(10) + [1, 0] + $0.dropFirst(12) }
      #expect(used.map(\.bytes) == expected.map { Array($0) })
      #expect(from.port.counts.forwarded == 4 && from.port.counts.forwardedBytes == 14 + 60 + 1514 + 1518)
    }
  }

  @Test(arguments: [false, true])
  func aFrameTakesSeveralBuffers(_ isPacked: Bool) throws {
    let (a, b) = try Self.sides(isPacked: isPacked)
    for token in 0..<4 { #expect(b.receiving.offer(token, writable: 64, pieceByteCount: 40)) }
    let packet = Self.packet(300)
    try send([packet, Self.packet(20)], from: a)
    #expect(try b.receiver.serve(by: b.port) == .chains)
    #expect(try b.receiving.takeUsed() == nil, "312 bytes need a fifth buffer")
    #expect(try b.receiver.armKicks())
    #expect(b.receiving.offer(4, writable: 64))
    #expect(b.receiving.offer(5, writable: 64))
    #expect(try b.receiver.serve(by: b.port) == .bell)
    let used = try b.receiving.takeAllUsed()
    #expect(used.map(\.bytes.count) == [64, 64, 64, 64, 56, 32])
    let whole = used.prefix(5).flatMap(\.bytes)
    #expect(whole[10] == 5 && whole[11] == 0, "the number of buffers is in the first one")
    #expect(Array(whole.dropFirst(12)) == Array(packet.dropFirst(12)))
    #expect(used[5].bytes[10] == 1)
    // More than all buffers together have: it is dropped, and the next one comes.
    for token in 0..<8 { #expect(b.receiving.offer(token, writable: 32)) }
    try send([packet, Self.packet(14)], from: a)
    #expect(try b.receiver.serve(by: b.port) == .bell)
    #expect(try b.receiving.takeAllUsed().map(\.bytes.count) == [26])
    #expect(a.port.counts.undelivered == 1)
  }

  @Test func withoutMergingAFrameFitsOrIsDropped() throws {
    let (a, b) = try Self.sides(features: 0)
    #expect(b.receiving.offer(0, writable: 100))
    try send([Self.packet(89), Self.packet(88)], from: a)
    #expect(try b.receiver.serve(by: b.port) == .bell)
    #expect(try b.receiving.takeAllUsed().map(\.bytes.count) == [100])
    #expect(a.port.counts.undelivered == 1)
  }

  @Test func whatMakesNoSenseIsDropped() throws {
    let (a, b) = try Self.sides()
    try send(
      [
        [], [1], Self.packet(0), Self.packet(13), Self.packet(1519), Self.packet(60, segmentation: 1),
        Self.packet(60, flags: 1, start: 50, offset: 9),
        Self.packet(60, flags: 1, start: 0xffff, offset: 0xffff),
      ].filter { !$0.isEmpty }, from: a)
    #expect(a.sending.offer(0, readable: Self.packet(60), at: 0xdead_0000))
    _ = try a.sender.serve(by: a.port)
    #expect(try a.sending.takeUsed() != nil)
    #expect(a.port.counts.malformed == 8 && a.port.counts.forwarded == 0)
    // A buffer that is not mapped goes back without a byte.
    try send([Self.packet(60), Self.packet(61)], from: a)
    #expect(b.receiving.offer(0, writable: 2048, at: 0xdead_0000))
    #expect(b.receiving.offer(1, writable: 2048))
    #expect(try b.receiver.serve(by: b.port) == .bell)
    #expect(try b.receiving.takeAllUsed().map(\.bytes.count) == [0, 73])
    #expect(a.port.counts.undelivered == 1)
  }

  @Test func aReceiverThatDoesNotTakeFramesMakesThemDrop() throws {
    let (a, b) = try Self.sides()
    let packets = [[UInt8]](repeating: Self.packet(1514), count: 900)
    try send(packets, from: a)
    let counts = a.port.counts
    #expect(counts.forwarded > 600 && counts.overflowed == 900 - counts.forwarded, "a mebibyte at most")
    // A reset: what was under way is forgotten, and nothing more comes before the next driver.
    b.port.end(0)
    try send([Self.packet(60)], from: a)
    #expect(a.port.counts.unheard == 1)
    b.begin()
    try send([Self.packet(77)], from: a)
    for token in 0..<4 { #expect(b.receiving.offer(token, writable: 2048)) }
    #expect(try b.receiver.serve(by: b.port) == .bell)
    #expect(try b.receiving.takeAllUsed().map(\.bytes.count) == [89])
  }

  /// A checksum that is left to do stays so for a driver that does it, and is done for one that does not.
  @Test(arguments: [guestChecksum, 0])
  func checksumsAreLeftOrCompleted(_ features: UInt64) throws {
    let (a, b) = try Self.sides(features: features)
    for byteCount in [60, 61] {
      var packet = Self.packet(byteCount, flags: 1, start: 34, offset: 16)
      // What the driver leaves there: the sum of the addresses.
      (packet[62], packet[63]) = (0x12, 0x34)
      try send([packet], from: a)
      #expect(b.receiving.offer(0, writable: 2048))
      #expect(try b.receiver.serve(by: b.port) == .bell)
      var bytes = try #require(try b.receiving.takeUsed()).bytes
      if features != 0 {
        (packet[10], packet[11]) = (1, 0)
        #expect(bytes == packet)
        continue
      }
      #expect(bytes[0] == 0 && bytes[6...9].allSatisfy { $0 == 0 })
      // With its checksum in it, everything sums to ones; the addresses' sum stands for what the checksum replaced.
      bytes += byteCount % 2 == 0 ? [0x12, 0x34] : [0, 0x12, 0x34]
      var sum = 0
      for index in stride(from: 46, to: bytes.count, by: 2) {
        sum += Int(bytes[index]) << 8 + (index + 1 < bytes.count ? Int(bytes[index + 1]) : 0)
      }
      while sum >> 16 != 0 { sum = sum & 0xffff + sum >> 16 }
      #expect(sum == 0xffff)
    }
  }

  @Test func anEchoComesBackToItsSender() throws {
    let side = try Side(
      NetworkPort(echoing: MACAddress(for: "a")), isPacked: false, features: Self.mergedBuffers)
    let packet = Self.packet(60)
    try send([packet], from: side)
    #expect(side.receiving.offer(0, writable: 2048))
    #expect(try side.receiver.serve(by: side.port) == .bell)
    let bytes = try #require(try side.receiving.takeUsed()).bytes
    #expect(bytes[12..<18] == packet[18..<24] && bytes[18..<24] == packet[12..<18])
    #expect(bytes[24...] == packet[24...])
  }

  @Test func aFrameThatIsAwaitedRingsTheBell() throws {
    let (a, b) = try Self.sides()
    let bell = b.receiving.orders.bell
    for token in 0..<4 { #expect(b.receiving.offer(token, writable: 2048)) }
    for _ in 0..<2 {
      #expect(try b.receiver.serve(by: b.port) == .bell)
      #expect(!bell.wait(for: .zero))
      try send([Self.packet(60)], from: a)
      #expect(bell.wait(for: .zero))
      try send([Self.packet(61)], from: a)
      #expect(!bell.wait(for: .zero), "its thread is awake")
    }
    #expect(try b.receiver.serve(by: b.port) == .bell)
    #expect(try b.receiving.takeAllUsed().count == 4)
  }

  /// Two threads: frames come in order, and none is lost that is not counted.
  @Test func framesComeInOrderBetweenThreads() throws {
    let bridge = NetworkBridge(MACAddress(for: "a"), MACAddress(for: "b"))
    let total = 3000
    let isOver = Atomic<Bool>(false)
    let received = Mutex<[Int]>([])
    nonisolated(unsafe) let a = try Side(bridge.first, isPacked: true, features: Self.mergedBuffers)
    nonisolated(unsafe) let b = try Side(bridge.second, isPacked: true, features: Self.mergedBuffers)
    do {
      let receiver = try OwnedThread {
        do {
          var free = Array(0..<8)
          while true {
            while let token = free.last, unsafe b.receiving.offer(token, writable: 40) { free.removeLast() }
            // Before it looks: frames may come between a look that finds none and its end.
            let isLast = isOver.load(ordering: .acquiring)
            let need = unsafe try b.receiver.serve(by: b.port)
            let used = unsafe try b.receiving.takeAllUsed()
            free += used.map(\.token)
            received.withLock { $0 += used.map { Int($0.bytes[26]) << 8 | Int($0.bytes[27]) } }
            if need != .bell { continue }
            if isLast { return }
            // Long beyond any pause between two frames: it is the bell that ends it.
            let isRung = unsafe b.receiving.orders.bell.wait(for: .seconds(60))
            #expect(isRung)
            if !isRung { return }
          }
        } catch { Issue.record(error) }
      }
      for number in 0..<total {
        var packet = Self.packet(16)
        (packet[26], packet[27]) = (UInt8(number >> 8), UInt8(number & 255))
        #expect(unsafe a.sending.offer(number % 8, readable: packet))
        _ = unsafe try a.sender.serve(by: a.port)
        #expect(unsafe try a.sending.takeUsed() != nil)
      }
      isOver.store(true, ordering: .releasing)
      unsafe b.receiving.orders.bell.ring()
      _ = consume receiver
    }
    let numbers = received.withLock { $0 }
    #expect(numbers == numbers.sorted() && Set(numbers).count == numbers.count)
    #expect(numbers.count == total - bridge.first.counts.overflowed)
  }

  @Test func addressesAreReadAndWritten() {
    let address = MACAddress("52:54:00:0a:FF:01")
    #expect(address?.description == "52:54:00:0a:ff:01")
    #expect(
      MACAddress(for: "net0") == MACAddress(for: "net0") && MACAddress(for: "net0") != MACAddress(for: "net1")
    )
    #expect(MACAddress(MACAddress(for: "net0").description) == MACAddress(for: "net0"))
    for text in [
      "", "52:54:00:0a:ff", "52:54:00:0a:ff:01:02", "52:54:00:0a:ff:1", "01:00:00:00:00:01",
      "00:00:00:00:00:00", "52:54:00:0a:ff:0g",
    ] {
      #expect(MACAddress(text) == nil, "\(text)")
    }
  }
}
