// SPDX-License-Identifier: Apache-2.0
import Synchronization
public import VDUSE
public import Virtqueues

/// A network interface: its driver's frames go one way, those of another interface come the other way.
///
/// Frames are copied twice, and never wait for a driver: what finds no room is dropped and counted. What a driver left to do
/// to a frame's checksum is left to the other driver, or done here for one that cannot.
public final class NetworkPort: VirtioService {
  /// Its address.
  public let address: MACAddress
  /// The most entries of each queue.
  public let maximumQueueSize: Int
  private let mtu: Int
  private let offersPackedRings: Bool
  private let outgoing: FramePath
  private let incoming: FramePath
  /// Whether frames go back to where they came from.
  private let isEcho: Bool

  /// Makes an interface that receives what it sends, with the two addresses of each frame exchanged.
  /// - Parameters: As of ``NetworkBridge``.
  public convenience init(
    echoing address: MACAddress, mtu: Int = 1500, queueSize: Int = 256, offersPackedRings: Bool = false
  ) {
    let path = FramePath()
    self.init(
      address, mtu: mtu, queueSize: queueSize, offersPackedRings, sending: path, receiving: path, isEcho: true
    )
  }

  init(
    _ address: MACAddress, mtu: Int, queueSize: Int, _ offersPackedRings: Bool,
    sending outgoing: FramePath, receiving incoming: FramePath, isEcho: Bool = false
  ) {
    precondition(NetworkProtocol.mtuRange.contains(mtu), "an MTU that drivers take")
    self.address = address
    self.mtu = mtu
    maximumQueueSize = queueSize
    self.offersPackedRings = offersPackedRings
    (self.outgoing, self.incoming) = (outgoing, incoming)
    self.isEcho = isEcho
  }

  /// What became of the frames that its driver sent.
  public var counts: FrameCounts { outgoing.counters.all }

  /// The device that this serves.
  public func description(name: String) -> VDUSEDeviceDescription {
    typealias Feature = NetworkProtocol.Feature
    var features =
      VirtioFeature.version1 | VirtioFeature.accessPlatform | VirtioFeature.indirectDescriptors
      | VirtioFeature.eventIndex | Feature.checksum | Feature.guestChecksum | Feature.mtu | Feature.address
      | Feature.mergedBuffers
    if offersPackedRings { features |= VirtioFeature.packedRing }
    return VDUSEDeviceDescription(
      name: name, deviceID: .network, features: features, queueCount: NetworkProtocol.queueCount,
      configuration: NetworkProtocol.configuration(address, mtu: mtu))
  }

  /// Lets frames come once there is a driver to receive them.
  public func begin(_ queue: Int, features: UInt64, bell: QueueBell) {
    if queue == NetworkProtocol.receiveQueue { incoming.ring.open(bell) }
  }

  /// Lets no more frames come; those on their way were for a driver that is gone.
  public func end(_ queue: Int) {
    if queue == NetworkProtocol.receiveQueue { incoming.ring.close() }
  }

  /// Sends what the driver has to send, or receives what there is for it.
  public func serve(_ queue: inout ServedQueue) throws(QueueError) -> ServiceNeed {
    queue.index == NetworkProtocol.receiveQueue ? try receive(&queue) : try send(&queue)
  }

  // MARK: What the driver sends

  private func send(_ queue: inout ServedQueue) throws(QueueError) -> ServiceNeed {
    while let chain = try queue.take() {
      send(chain, of: queue)
      queue.complete(chain, writtenByteCount: 0)
      queue.publish()
    }
    return .chains
  }

  private func send(_ chain: QueueChain, of queue: borrowing ServedQueue) {
    let counters = outgoing.counters
    let byteCount = Int(chain.readableByteCount)
    let frameByteCount = byteCount - FrameHeader.byteCount
    let limit = mtu + NetworkProtocol.ethernetByteCount + NetworkProtocol.tagByteCount
    guard (NetworkProtocol.ethernetByteCount...limit).contains(frameByteCount) else {
      counters.malformed.add(1, ordering: .relaxed)
      return
    }
    guard outgoing.ring.hasTaker else {
      counters.unheard.add(1, ordering: .relaxed)
      return
    }
    let hasRoom = unsafe outgoing.ring.put(byteCount: byteCount) { packet in
      // Read once; what is checked is our copy.
      guard unsafe ChainBytes(chain).load(into: packet, at: 0, of: queue),
        unsafe FrameHeader(unsafeStartOf: packet).isAccepted()
      else {
        counters.malformed.add(1, ordering: .relaxed)
        return false
      }
      if isEcho { unsafe FrameHeader(unsafeStartOf: packet).exchangeAddresses() }
      counters.forwarded.add(1, ordering: .relaxed)
      counters.forwardedBytes.add(frameByteCount, ordering: .relaxed)
      return true
    }
    if !hasRoom { counters.overflowed.add(1, ordering: .relaxed) }
  }

  // MARK: What it receives

  private func receive(_ queue: inout ServedQueue) throws(QueueError) -> ServiceNeed {
    var chains: [QueueChain] = []
    repeat {
      while let packet = unsafe incoming.ring.first {
        guard let count = try bufferCount(for: packet.count, in: &queue, &chains),
          let isDelivered = unsafe try deliver(packet, in: count, &queue, &chains)
        else { return .chains }
        if !isDelivered { incoming.counters.undelivered.add(1, ordering: .relaxed) }
        incoming.ring.removeFirst()
      }
    } while !incoming.ring.expectNext()
    return .bell
  }

  /// How many of the available buffers a packet takes: chains are looked at, and given back.
  /// - Returns: Nil where it must wait for more of them; 0 where that does not help.
  private func bufferCount(
    for byteCount: Int, in queue: inout ServedQueue, _ chains: inout [QueueChain]
  ) throws(QueueError) -> Int? {
    let mayMerge = queue.features & NetworkProtocol.Feature.mergedBuffers != 0
    chains.removeAll(keepingCapacity: true)
    var room = 0
    while room < byteCount, mayMerge || chains.isEmpty, let chain = try queue.take() {
      chains.append(chain)
      room += Int(chain.writableByteCount)
    }
    for chain in chains.reversed() { queue.undoTake(chain) }
    if room >= byteCount { return chains.count }
    return chains.count == (mayMerge ? queue.size : 1) ? 0 : nil
  }

  /// Copies a packet into the next buffers, and shows them to the driver together.
  /// - Returns: Nil where the buffers are gone, or the thread is wanted elsewhere; false where it does not fit, or they are
  ///   not mapped.
  @unsafe
  private func deliver(
    _ packet: UnsafeMutableRawBufferPointer, in count: Int, _ queue: inout ServedQueue,
    _ chains: inout [QueueChain]
  ) throws(QueueError) -> Bool? {
    let header = unsafe FrameHeader(unsafeStartOf: packet)
    if queue.features & NetworkProtocol.Feature.guestChecksum == 0 { header.completeChecksum() }
    header.setBufferCount(count)
    chains.removeAll(keepingCapacity: true)
    var (place, isWritten) = (0, true)
    while chains.count < count, let chain = try queue.take() {
      // The driver may have made them shorter since they were looked at.
      let length = min(Int(chain.writableByteCount), packet.count - place)
      let part = unsafe UnsafeRawBufferPointer(rebasing: packet[place..<place + length])
      isWritten = unsafe ChainBytes(chain).store(part, at: 0, of: queue) && isWritten
      chains.append(chain)
      place += length
    }
    guard chains.count == count else {
      for chain in chains.reversed() { queue.undoTake(chain) }
      return nil
    }
    isWritten = isWritten && place == packet.count
    // Buffers without a byte are no frame to a driver, and go back to it.
    var rest = isWritten ? UInt32(packet.count) : 0
    for chain in chains {
      let length = min(chain.writableByteCount, rest)
      queue.complete(chain, writtenByteCount: length)
      rest -= length
    }
    queue.publish()
    return isWritten
  }
}
