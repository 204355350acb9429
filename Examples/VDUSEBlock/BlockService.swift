// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
public import VDUSE
public import Virtqueues

/// A disk that is a file: what the chains of its queues ask is done with system calls straight between the file and the
/// driver's memory, one after the other in each queue.
///
/// What goes wrong with the file (no space, an I/O error, a file cut short) becomes an I/O error of the request.
public final class BlockService: VirtioService {
  private let image: DiskImage
  private let identity: [UInt8]
  private let queueCount: Int
  private let queueSize: Int
  private let offersPackedRings: Bool
  private let offersIndirectTables: Bool

  /// Makes a disk of an image.
  /// - Parameters:
  ///   - identity: What the driver shows as the disk's serial number; at most 20 bytes of it.
  ///   - queueSize: A power of two, 4 at least.
  ///   - offersPackedRings: Whether the driver may choose packed rings.
  ///   - offersIndirectTables: Whether the driver may put the descriptors of a request into a table of their own. The ring
  ///     holds more large requests then; but Linux's driver does it for each request, and allocates, maps and unmaps a table
  ///     more for it.
  public init(
    _ image: DiskImage, identity: String, queueCount: Int = 1, queueSize: Int = 1024,
    offersPackedRings: Bool = false, offersIndirectTables: Bool = false
  ) {
    self.image = image
    self.identity = Array(identity.utf8.prefix(BlockProtocol.identityByteCount))
    self.queueCount = queueCount
    self.queueSize = queueSize
    self.offersPackedRings = offersPackedRings
    self.offersIndirectTables = offersIndirectTables
  }

  /// The most entries of each queue.
  public var maximumQueueSize: Int { queueSize }

  /// The device that this serves.
  public func description(name: String) -> VDUSEDeviceDescription {
    typealias Feature = BlockProtocol.Feature
    var features =
      VirtioFeature.version1 | VirtioFeature.accessPlatform | VirtioFeature.eventIndex
      | Feature.segmentLimit | Feature.blockSize | Feature.flush | Feature.topology
    features |= image.isReadOnly ? Feature.readOnly : Feature.discard | Feature.writeZeroes
    if offersPackedRings { features |= VirtioFeature.packedRing }
    if offersIndirectTables { features |= VirtioFeature.indirectDescriptors }
    if queueCount > 1 { features |= Feature.multiQueue }
    return VDUSEDeviceDescription(
      name: name, deviceID: .block, features: features, queueCount: queueCount,
      // Head and status take two of a chain's pieces; a ring of the usual size holds some of the largest requests.
      configuration: BlockProtocol.configuration(
        sectorCount: image.sectorCount, segmentLimit: min(queueSize, 256) - 2, queueCount: queueCount))
  }

  /// Does what requests ask, one after the other.
  public func serve(_ queue: inout ServedQueue) throws(QueueError) -> ServiceNeed {
    while let chain = try queue.take() {
      queue.complete(chain, writtenByteCount: try serve(chain, of: queue))
      queue.publish()
    }
    return .chains
  }

  /// Does what a request asks, and tells its status.
  /// - Returns: How many bytes were written into the chain's writable part.
  /// - Throws: `pieceUnmapped` where the status has no place: the driver would take what lies there from before for it.
  private func serve(
    _ chain: QueueChain, of queue: borrowing ServedQueue
  ) throws(QueueError) -> UInt32 {
    let bytes = ChainBytes(chain)
    // Without a place for the status nothing can be said.
    guard chain.writableByteCount > 0 else { return 0 }
    var written: UInt32 = 1
    let status: BlockProtocol.Status
    do throws(KernelError) {
      status = try serve(bytes, of: queue, &written)
    } catch {
      status = .failed
    }
    guard bytes.store(status.rawValue, at: Int(chain.writableByteCount) - 1, of: queue) else {
      let last = queue.segment(Int(chain.segmentCount) - 1)
      throw QueueError(.pieceUnmapped, index: chain.id, value: last.iova.rawValue)
    }
    return written
  }

  /// Does what a request asks.
  /// - Parameter written: All writable bytes, where data were written before the status.
  private func serve(
    _ bytes: ChainBytes, of queue: borrowing ServedQueue, _ written: inout UInt32
  ) throws(KernelError) -> BlockProtocol.Status {
    let headByteCount = BlockProtocol.headByteCount
    guard let head = bytes.loadTwoWords(at: 0, of: queue) else { return .failed }
    let kind = UInt32(truncatingIfNeeded: head.0)
    let sector = head.1
    let writable = Int(bytes.chain.writableByteCount) - 1
    let readable = Int(bytes.chain.readableByteCount) - headByteCount
    switch kind {
    case BlockProtocol.Kind.read:
      guard image.contains(sector: sector, byteCount: writable),
        var parts = bytes.parts(0..<writable, isWritable: true, of: queue)
      else { return .failed }
      try image.read(into: &parts, at: sector)
      written = bytes.chain.writableByteCount
      return .done
    case BlockProtocol.Kind.write:
      guard !image.isReadOnly, image.contains(sector: sector, byteCount: readable),
        var parts = bytes.parts(
          headByteCount..<headByteCount + readable, isWritable: false, of: queue)
      else { return .failed }
      try image.write(&parts, at: sector)
      return .done
    case BlockProtocol.Kind.flush:
      try image.flush()
      return .done
    case BlockProtocol.Kind.identity:
      guard writable >= BlockProtocol.identityByteCount else { return .failed }
      let padding = [UInt8](repeating: 0, count: BlockProtocol.identityByteCount - identity.count)
      guard bytes.store((identity + padding).span, at: 0, of: queue) else { return .failed }
      written = bytes.chain.writableByteCount
      return .done
    case BlockProtocol.Kind.discard, BlockProtocol.Kind.writeZeroes:
      return try change(kind, bytes, readable, of: queue)
    default: return .unsupported
    }
  }

  /// Discards the ranges of a request, or makes them zeroes.
  private func change(
    _ kind: UInt32, _ bytes: ChainBytes, _ byteCount: Int, of queue: borrowing ServedQueue
  ) throws(KernelError) -> BlockProtocol.Status {
    // As many ranges as the configuration space says.
    guard !image.isReadOnly, byteCount == BlockProtocol.rangeByteCount,
      let range = bytes.loadTwoWords(at: BlockProtocol.headByteCount, of: queue)
    else { return .failed }
    let sector = range.0
    let count = UInt32(truncatingIfNeeded: range.1)
    let flags = UInt32(truncatingIfNeeded: range.1 >> 32)
    let isDiscard = kind == BlockProtocol.Kind.discard
    guard flags & ~BlockProtocol.unmap == 0, !isDiscard || flags == 0 else { return .unsupported }
    let length = Int(count) * BlockProtocol.sectorByteCount
    guard count > 0, count <= (isDiscard ? BlockProtocol.discardLimit : BlockProtocol.writeZeroesLimit),
      image.contains(sector: sector, byteCount: length)
    else { return .failed }
    if isDiscard {
      try image.discard(sector: sector, byteCount: length)
    } else {
      try image.zero(sector: sector, byteCount: length, mayDeallocate: flags & BlockProtocol.unmap != 0)
    }
    return .done
  }
}
