// SPDX-License-Identifier: Apache-2.0
internal import CTwins
internal import CTwinsNVMe
internal import DMACore
internal import LinuxHandles
internal import NVMeDriver

/// What a command costs the driver: fill an entry, doorbell, poll a completion, doorbell; in Swift and in C.
///
/// The completions lie in the queue before it begins: no device is counted. Each comparison prints one line in the order
/// in which the profiler writes what it counted; see run.
@main
enum Main {
  /// Both rings are longer than the loop is, so that it ends before the phase turns; the test of it is counted.
  private static let operations: UInt32 = 61440
  private static let depth = 65535
  private static let address: UInt64 = 0x1234_5000

  static func main() throws {
    for (batch, limit): (UInt32, Double) in [(1, 0.95), (32, 0.90)] {
      let sums = try [
        swift(batch), unsafe twin(batch, twin_nvme_loop), unsafe twin(batch, twin_nvme_loop_unchecked),
      ]
      precondition(sums.allSatisfy { $0 == sums[0] }, "the loops do different things: \(sums)")
      print("batches of \(batch)", operations, limit, batch == 1 ? "60" : "-", separator: "\t")
    }
  }

  private static func swift(_ batch: UInt32) throws -> UInt64 {
    let controller = try BareController()
    let driver = try NVMeDriver(BareFunction(controller))
    var queue = try driver.controller.makeQueuePair(depth: depth)
    guard let entries = unsafe controller.completionEntries else { fatalError("the queue was made") }
    unsafe complete(entries) { UInt32(truncatingIfNeeded: $0) }
    twin_measurement_begins()
    let sum =
      batch == 1
      ? singleLoop(&queue, operations, IOVA(address)) : batchLoop(&queue, operations, batch, IOVA(address))
    twin_measurement_ends()
    return sum
  }

  private static func twin(
    _ batch: UInt32,
    _ loop: (UnsafeMutablePointer<twin_nvme_queue>?, UInt32, UInt32, UInt64) -> UInt64
  ) throws -> UInt64 {
    let submissions = try MappedMemory.anonymous(byteCount: 65536 * 64)
    let completions = try MappedMemory.anonymous(byteCount: 1 << 20)
    let doorbells = try MappedMemory.anonymous(byteCount: 4096)
    var free = Array((0..<batch).reversed())
    var ids: [UInt32] = []
    // It takes the id that was given back last.
    unsafe complete(completions.baseAddress) { place in
      if place % Int(batch) == 0 {
        free += ids
        ids = (0..<batch).map { _ in free.removeLast() }
      }
      return ids[place % Int(batch)]
    }
    var queue = unsafe twin_nvme_queue_make(
      submissions.baseAddress, completions.baseAddress,
      doorbells.baseAddress.assumingMemoryBound(to: UInt32.self), UInt32(depth + 1), UInt32(depth))
    twin_measurement_begins()
    let sum = unsafe loop(&queue, operations, batch, address)
    twin_measurement_ends()
    return sum
  }

  /// Writes all completions ahead, in the order of submission.
  @unsafe
  private static func complete(_ entries: UnsafeMutableRawPointer, _ id: (Int) -> UInt32) {
    for place in 0..<Int(operations) {
      unsafe (entries + place * 16 + 12).storeBytes(of: id(place) | 1 << 16, as: UInt32.self)
    }
  }

  @inline(never)
  private static func singleLoop(
    _ queue: inout NVMeQueuePair, _ count: UInt32, _ iova: IOVA
  ) -> UInt64 {
    var sum: UInt64 = 0
    var done: UInt32 = 0
    do throws(NVMeError) {
      while done != count {
        let number = UInt64(done)
        queue.submit(
          NVMeCommand(.read, namespaceID: 1, block: number, count: 8), moving: 4096, at: iova, tag: number)
        queue.ring()
        while true {
          guard let completion = try queue.poll() else { continue }
          sum &+= completion.tag &+ UInt64(completion.status.rawValue)
          break
        }
        queue.acknowledge()
        done &+= 1
      }
    } catch {
      return 0
    }
    return sum
  }

  @inline(never)
  private static func batchLoop(
    _ queue: inout NVMeQueuePair, _ count: UInt32, _ batch: UInt32, _ iova: IOVA
  ) -> UInt64 {
    var sum: UInt64 = 0
    var done: UInt32 = 0
    do throws(NVMeError) {
      while done != count {
        var index: UInt32 = 0
        while index != batch {
          let number = UInt64(done &+ index)
          queue.submit(
            NVMeCommand(.read, namespaceID: 1, block: number, count: 8), moving: 4096, at: iova, tag: number)
          index &+= 1
        }
        queue.ring()
        var seen: UInt32 = 0
        while seen != batch {
          guard let completion = try queue.poll() else { continue }
          sum &+= completion.tag &+ UInt64(completion.status.rawValue)
          seen &+= 1
        }
        queue.acknowledge()
        done &+= batch
      }
    } catch {
      return 0
    }
    return sum
  }
}
