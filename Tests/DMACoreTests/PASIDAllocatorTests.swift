// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import Synchronization
import SystemPackage
import Testing

/// A kernel that hands out PASIDs from 100 on, or has no such request.
private final class FakeSource: PASIDSource {
  let label = "container"
  let refusal = Mutex<Errno?>(nil)
  let taken = Mutex<Set<UInt32>>([])

  func takePASID(in range: ClosedRange<PASID>) throws(KernelError) -> PASID {
    if let errno = refusal.withLock({ $0 }) {
      throw KernelError(operation: "VFIO_IOMMU_PASID_REQUEST", errno: errno, subject: label)
    }
    let number = taken.withLock { taken in
      let number = max(range.lowerBound.rawValue, 100) + UInt32(taken.count)
      taken.insert(number)
      return number
    }
    return PASID(number) ?? .highest
  }

  func giveBackPASID(_ pasid: PASID) throws(KernelError) {
    if let errno = refusal.withLock({ $0 }) {
      throw KernelError(operation: "VFIO_IOMMU_PASID_REQUEST", errno: errno, subject: label)
    }
    taken.withLock { _ = $0.remove(pasid.rawValue) }
  }
}

@Suite struct PASIDAllocatorTests {
  private func pasid(_ number: UInt32) -> PASID { PASID(number) ?? .highest }
  private func range(_ first: UInt32, _ last: UInt32) -> ClosedRange<PASID> { pasid(first)...pasid(last) }

  @Test func theLowestFreeOneOfTheRangeIsTaken() throws {
    let allocator = PASIDAllocator()
    #expect(allocator.backing == .process)
    let first = try allocator.allocate()
    let second = try allocator.allocate()
    let high = try allocator.allocate(in: range(63, 70))
    let next = try allocator.allocate(in: range(63, 70))
    let numbers = (first.pasid.rawValue, second.pasid.rawValue, high.pasid.rawValue, next.pasid.rawValue)
    #expect(numbers == (1, 2, 63, 64), "0 is the device itself")
    #expect(allocator.allocated.map(\.rawValue) == [1, 2, 63, 64])
    try first.free()
    let again = try allocator.allocate(in: range(0, 9))
    let number = again.pasid.rawValue
    #expect(number == 1)
    _ = consume second
    let rest = [Lease(again), Lease(high), Lease(next)]
    withExtendedLifetime(rest) {
      #expect(allocator.allocated.map(\.rawValue) == [1, 63, 64], "what goes is given back")
    }
  }

  @Test func aRangeWithoutAFreeOneIsAnError() throws {
    let allocator = PASIDAllocator()
    let held = try [Lease(allocator.allocate(in: range(5, 6))), Lease(allocator.allocate(in: range(5, 6)))]
    let error = refusal(allocator, range(5, 6))
    #expect(error?.errno == .noSpace && error?.subject == "5...6")
    #expect(refusal(allocator, range(0, 0))?.errno == .noSpace)
    let top = try allocator.allocate(in: PASID.highest...PASID.highest)
    #expect(refusal(allocator, PASID.highest...PASID.highest)?.errno == .noSpace)
    try top.free()
    withExtendedLifetime(held) {}
  }

  @Test func theQuotaIsKeptAndCanBeChanged() throws {
    let allocator = PASIDAllocator()
    #expect(allocator.quota == 1000)
    var held: [Lease] = []
    for _ in 0..<1000 { held.append(try Lease(allocator.allocate())) }
    let error = refusal(allocator, .all)
    #expect(error?.errno == .noSpace && error?.remedy?.contains("used 1000, limit 1000") == true)
    allocator.quota = 1001
    held.append(try Lease(allocator.allocate()))
    allocator.quota = 1
    held.removeAll()
    #expect(allocator.allocated.isEmpty)
    held.append(try Lease(allocator.allocate()))
    #expect(refusal(allocator, .all)?.errno == .noSpace)
  }

  @Test func widthsGiveRanges() {
    #expect(
      ClosedRange<PASID>.fitting(pasidBits: 0) == nil && ClosedRange<PASID>.fitting(pasidBits: 21) == nil)
    #expect(ClosedRange<PASID>.fitting(pasidBits: 8) == range(1, 255))
    #expect(ClosedRange<PASID>.fitting(pasidBits: 20) == .all)
  }

  @Test func theSourceIsAskedFirst() throws {
    let source = FakeSource()
    let allocator = PASIDAllocator(of: source)
    let lease = try allocator.allocate()
    let number = lease.pasid.rawValue
    #expect(number == 100 && allocator.backing == .kernel && source.taken.withLock { $0 } == [100])
    try lease.free()
    #expect(source.taken.withLock { $0.isEmpty } && allocator.allocated.isEmpty)
    source.refusal.withLock { $0 = .noSpace }
    #expect(refusal(allocator, .all)?.errno == .noSpace && allocator.backing == .kernel)
  }

  @Test func aKernelWithoutTheRequestIsAnsweredForHere() throws {
    let source = FakeSource()
    source.refusal.withLock { $0 = .inappropriateIOCTLForDevice }
    let allocator = PASIDAllocator(of: source, quota: 1)
    let lease = try allocator.allocate(in: range(7, 9))
    let number = lease.pasid.rawValue
    #expect(number == 7 && allocator.backing == .process)
    #expect(refusal(allocator, .all)?.errno == .noSpace)
    try lease.free()
    #expect(allocator.allocated.isEmpty)
  }

  @Test func whatTheKernelKeepsStaysOut() throws {
    let source = FakeSource()
    let allocator = PASIDAllocator(of: source)
    let lease = try allocator.allocate()
    source.refusal.withLock { $0 = .invalidArgument }
    var seen: Errno?
    do throws(KernelError) { try lease.free() } catch { seen = error.errno }
    #expect(seen == .invalidArgument && allocator.allocated.map(\.rawValue) == [100])
  }

  /// Four threads that take and give back: no PASID is anybody else's meanwhile.
  @Test func noPASIDIsHandedOutTwice() throws {
    let shared = Shared()
    let threads = (0..<4).map { _ in
      IOVAThread {
        for _ in 0..<2000 {
          guard let lease = try? shared.allocator.allocate(in: .fitting(pasidBits: 3) ?? .all) else {
            continue
          }
          let number = Int(lease.pasid.rawValue)
          if shared.owners[number].exchange(true) {
            shared.doubleCount.add(1, ordering: .relaxed)
          }
          shared.owners[number].clear()
          try? lease.free()
        }
      }
    }
    for thread in threads { thread.join() }
    #expect(shared.doubleCount.load(ordering: .relaxed) == 0 && shared.allocator.allocated.isEmpty)
  }

  private final class Shared: Sendable {
    final class Flag: Sendable {
      private let flag = Atomic<Bool>(false)
      func exchange(_ value: Bool) -> Bool { flag.exchange(value, ordering: .acquiringAndReleasing) }
      func clear() { flag.store(false, ordering: .releasing) }
    }
    let allocator = PASIDAllocator()
    let owners = (0..<8).map { _ in Flag() }
    let doubleCount = Atomic<Int>(0)
  }

  /// An array takes no lease itself.
  private final class Lease: Sendable {
    private let lease: PASIDLease
    init(_ lease: consuming PASIDLease) { self.lease = lease }
  }

  private func refusal(_ allocator: PASIDAllocator, _ range: ClosedRange<PASID>) -> KernelError? {
    do throws(KernelError) {
      _ = try allocator.allocate(in: range)
      return nil
    } catch {
      return error
    }
  }
}
