// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import DMACore
import Foundation
import LinuxHandles
import Synchronization
import Testing
import VDUSE
import Virtqueues

/// An address space of one piece of memory, which an IOTLB finds as the kernel's would.
final class GuestSpace: AddressSpace {
  let label = "guest"
  let granuleByteCount = 4096
  let reservations = IOVAReservations(
    allowed: [IOVARange(start: IOVA(0x1_0000), last: IOVA((1 << 40) - 1))])
  private let mapped = Mutex<IOVARange?>(nil)
  private let file: CInt

  init(_ file: CInt) { self.file = file }
  deinit { close(file) }

  @unsafe
  func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    mapped.withLock { $0 = range }
  }

  func unmapPages(_ range: IOVARange) throws(KernelError) {}

  func entry(_ range: IOVARange) throws(KernelError) -> IOTLBMapping? {
    guard let all = mapped.withLock({ $0 }), all.overlaps(range) else { return nil }
    let entry = IOTLBEntry(range: all, fileOffset: 0, access: .readWrite)
    let copy = OwnedDescriptor(adopting: dup(file))
    return try IOTLBMapping(IOTLBFile(entry: entry, descriptor: copy), addressSpace: 0)
  }
}

/// A driver's end of one queue in this process, and what the device needs to serve it.
final class GuestQueue {
  static let slotByteCount = 4096

  private struct Unmapped: Error {}
  /// Where to go on is not known.
  struct Refused: Error {}

  let index: Int
  let features: UInt64
  let orders: QueueOrders
  private(set) var interruptCount = 0
  private let info: VDUSEQueueInfo
  private let areas: QueueAreas
  /// Keeps the ring mapped.
  private let ringCache: IOTLBCache
  private let iotlb: IOTLB
  private let memory: MappedMemory
  private let data: Int
  private let start: UInt64
  // One of the two is there.
  private var split: SplitQueueDriver?
  private var packed: PackedQueueDriver?

  /// - Parameter slotCount: How many pieces of memory there are for chains: token 0 has the first one.
  init(_ index: Int = 0, isPacked: Bool, features: UInt64 = 0, size: Int = 8, slotCount: Int = 16) throws {
    self.index = index
    self.features = features | (isPacked ? VirtioFeature.packedRing : 0)
    orders = try QueueOrders()
    let rings = QueueFeatures(rawValue: self.features)
    let packedLayout = PackedRingLayout(size: size, indirectTableLength: 4)
    let splitLayout = SplitRingLayout(size: size, indirectTableLength: 4)
    data = ((isPacked ? packedLayout.byteCount : splitLayout.byteCount) + 4095) & ~4095
    let byteCount = data + slotCount * Self.slotByteCount
    let file = unsafe abi_memory_file("guest", 0, UInt64(byteCount))
    try #require(file >= 0)
    let space = GuestSpace(file)
    let ours = try MappedMemory.sharing(
      OwnedDescriptor(adopting: dup(file)), offset: 0, byteCount: byteCount)
    memory = try MappedMemory.sharing(OwnedDescriptor(adopting: dup(file)), offset: 0, byteCount: byteCount)
    let exposed = try space.expose(UnsharedMemory(adopting: ours), access: .readWrite, sharing: .coherent)
    start = exposed.iova.rawValue
    iotlb = IOTLB { (range, _) throws(KernelError) in try space.entry(range) }
    let info: VDUSEQueueInfo
    let state = VDUSEQueueState(availableIndex: 0, availableWrap: true, usedIndex: 0, usedWrap: true)
    if isPacked {
      let driver = PackedQueueDriver(memory: exposed, layout: packedLayout, features: rings)
      info = VDUSEQueueInfo(
        size: size, descriptors: driver.descriptors, driverArea: driver.driverEvent,
        deviceArea: driver.deviceEvent, state: state, isReady: true)
      packed = consume driver
    } else {
      let driver = SplitQueueDriver(memory: exposed, layout: splitLayout, features: rings)
      info = VDUSEQueueInfo(
        size: size, descriptors: driver.descriptors, driverArea: driver.available, deviceArea: driver.used,
        state: VDUSEQueueState(availableIndex: 0), isReady: true)
      split = consume driver
    }
    self.info = info
    ringCache = IOTLBCache(of: iotlb, addressSpace: 0)
    guard let areas = QueueAreas(info, isPacked: isPacked, ringCache) else { throw Unmapped() }
    self.areas = areas
  }

  // MARK: The device's end

  /// The queue as its thread would make it: anew, or after a process that is gone.
  func serve(_ log: InFlightLog? = nil, isRecovering: Bool = false) throws -> ServedQueue {
    guard
      let start = QueueStart(ofQueue: index, areas, info.state, log, isRecovering: isRecovering)
    else { throw Refused() }
    var queue = try ServedQueue(
      index, areas, at: start.place, features: features, IOTLBCache(of: iotlb, addressSpace: 0), orders,
      order: orders.newest, log, owesInterrupt: start.isRecovering
    ) { [unowned self] in
      interruptCount += 1
      return true
    }
    if start.isRecovering { try queue.replay(start.done) }
    return queue
  }

  // MARK: The driver's end

  private func slot(_ token: Int) -> Int { data + token * Self.slotByteCount }

  /// Makes a chain available: what the device reads, then room for what it writes, cut into pieces.
  /// - Returns: False where the ring is full.
  @discardableResult
  func offer(
    _ token: Int, readable: [UInt8] = [], writable: Int = 0, pieceByteCount: Int = .max,
    at address: UInt64? = nil
  ) -> Bool {
    for (index, byte) in readable.enumerated() {
      unsafe memory.baseAddress.storeBytes(of: byte, toByteOffset: slot(token) + index, as: UInt8.self)
    }
    var segments: [QueueSegment] = []
    let first = address ?? start + UInt64(slot(token))
    for (isWritable, range) in [
      (false, 0..<readable.count), (true, readable.count..<readable.count + writable),
    ] {
      var place = range.lowerBound
      while place < range.upperBound {
        let count = min(pieceByteCount, range.upperBound - place)
        segments.append(
          QueueSegment(
            iova: IOVA(first + UInt64(place)), byteCount: UInt32(count), isWritable: isWritable))
        place += count
      }
    }
    let isAdded =
      split?.add(segments.span, token: UInt64(token)) ?? packed?.add(segments.span, token: UInt64(token))
    _ = split?.publish()
    _ = packed?.publish()
    return isAdded == true
  }

  /// A byte of a chain's memory.
  func memoryByte(_ token: Int, at offset: Int) -> UInt8 {
    unsafe memory.baseAddress.load(fromByteOffset: slot(token) + offset, as: UInt8.self)
  }

  /// The next chain that came back: its token, and what was written into it.
  func takeUsed() throws -> (token: Int, bytes: [UInt8])? {
    let used = split != nil ? try split?.takeUsed() : try packed?.takeUsed()
    guard let used else { return nil }
    let token = Int(used.token)
    let bytes = (0..<Int(used.writtenByteCount)).map {
      unsafe memory.baseAddress.load(fromByteOffset: slot(token) + $0, as: UInt8.self)
    }
    return (token, bytes)
  }

  /// All that came back.
  func takeAllUsed() throws -> [(token: Int, bytes: [UInt8])] {
    var all: [(token: Int, bytes: [UInt8])] = []
    while let used = try takeUsed() { all.append(used) }
    return all
  }
}
