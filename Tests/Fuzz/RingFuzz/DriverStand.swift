// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import Virtqueues

/// What both driver types can do.
protocol DriverSide: ~Copyable {
  mutating func add(_ segments: Span<QueueSegment>, token: UInt64) -> Bool
  mutating func publish() -> Bool
  mutating func takeUsed() throws(QueueError) -> UsedChain?
  mutating func disarmInterrupts()
  mutating func armInterrupts() -> Bool
  var freeCount: Int { get }
  var inFlightCount: Int { get }
  consuming func close() -> DMAMemory
}

extension SplitQueueDriver: DriverSide {}
extension PackedQueueDriver: DriverSide {}

/// Memory for drivers, one after the other, in which the script plays the device.
@safe final class DriverStand {
  nonisolated(unsafe) static let shared = DriverStand()
  private let space = PlainSpace()
  private var memory: DMAMemory?
  private let base: UnsafeMutableRawPointer

  private init() {
    do {
      let memory = try space.expose(UnsharedMemory(byteCount: 8192), access: .readWrite, sharing: .coherent)
      unsafe base = unsafe space.base.unsafelyUnwrapped
      self.memory = consume memory
    } catch {
      fatalError("memory for a driver: \(error)")
    }
  }

  func play(_ script: inout Script, _ features: QueueFeatures, size: Int, isPacked: Bool) {
    guard isPacked || SplitRingLayout.isValid(size: size), let memory = memory.take() else { return }
    if isPacked {
      let layout = PackedRingLayout(size: size, indirectTableLength: 4)
      run(
        &script, PackedQueueDriver(memory: memory, layout: layout, features: features), size, layout.byteCount
      )
    } else {
      let layout = SplitRingLayout(size: size, indirectTableLength: 4)
      run(
        &script, SplitQueueDriver(memory: memory, layout: layout, features: features), size, layout.byteCount)
    }
  }

  private func run<Driver: DriverSide & ~Copyable>(
    _ script: inout Script, _ driver: consuming Driver, _ size: Int, _ byteCount: Int
  ) {
    var token: UInt64 = 0
    var open: Set<UInt64> = []
    while !script.isAtEnd {
      switch script.byte() & 7 {
      case 0...2:
        let place = Int(script.word()) % byteCount
        for offset in 0...Int(script.byte() & 7) where place + offset < byteCount {
          unsafe (base + place + offset).storeBytes(of: script.byte(), as: UInt8.self)
        }
      case 3, 4:
        let count = Int(script.byte()) % min(size, 5) + 1
        let pieces = (0..<count).map {
          QueueSegment(iova: IOVA(UInt64($0) << 12), byteCount: 256, isWritable: $0 != 0)
        }
        if driver.add(pieces.span, token: token) { open.insert(token) }
        token += 1
      case 5: _ = driver.publish()
      case 6:
        if script.byte() & 1 == 0 { _ = driver.armInterrupts() } else { driver.disarmInterrupts() }
      default:
        guard let used = try? driver.takeUsed() else { continue }
        precondition(open.remove(used.token) != nil, "each chain comes back once")
        precondition(used.writtenByteCount <= 4 * 256)
      }
      precondition(driver.inFlightCount == open.count && driver.freeCount <= size)
    }
    memory = driver.close()
  }
}

/// An address space that remembers where the pages lie.
@safe private final class PlainSpace: AddressSpace, @unchecked Sendable {
  let label = "plain space"
  let granuleByteCount = 4096
  let reservations = IOVAReservations(
    allowed: [IOVARange(start: IOVA(0x1_0000), last: IOVA((1 << 40) - 1))])
  private(set) var base: UnsafeMutableRawPointer?

  @unsafe
  func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    unsafe self.base = base
  }

  func unmapPages(_ range: IOVARange) throws(KernelError) {}
}
