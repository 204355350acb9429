// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceSimulation
import DriverCore
import LinuxHandles
import NVMeDriver
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// Memory of the caller's that a call lends: it is the caller's again when the call ends, however that is.
@Suite struct NVMeBorrowingTests {
  private static let short = NVMeOptions(patience: .milliseconds(100))

  /// How a read into an array ends; what is mapped before and after is the same.
  private func read(
    _ stand: NVMeModelStand, _ misbehaviour: NVMeMisbehaviour, byteCount: Int = 3 * 4096
  ) throws -> NVMeError? {
    let driver = try stand.driver(Self.short)
    let namespace = try driver.controller.namespace(1)
    var queue = try driver.controller.makeQueuePair(depth: 4)
    let before = stand.space.mappedRanges
    stand.model.misbehaviour = misbehaviour
    var bytes = [UInt8](repeating: 1, count: byteCount)
    var failure: NVMeError?
    do throws(NVMeError) {
      try queue.read(namespace, into: &bytes)
    } catch {
      failure = error
    }
    stand.model.misbehaviour = .none
    #expect(stand.space.mappedRanges == before)
    return failure
  }

  @Test func nothingStaysMapped() throws {
    let stand = try NVMeModelStand()
    let failure = try read(stand, .none)
    #expect(failure == nil)
    #expect(stand.space.takeFaults().isEmpty)
  }

  /// The controller has the command still: it is stopped before the memory goes.
  @Test(arguments: [NVMeMisbehaviour.forgetsCommands, .holdsCommands, .unknownID, .diesAtCommand])
  func theControllerIsDoneBeforeTheMemoryGoes(_ misbehaviour: NVMeMisbehaviour) throws {
    let stand = try NVMeModelStand()
    let failure = try read(stand, misbehaviour)
    #expect(failure?.command == .read, "\(String(describing: failure))")
    // The last one is the driver's as it goes.
    #expect(stand.model.counts.resets == (misbehaviour == .holdsCommands ? 1 : 2))
    #expect(stand.space.takeFaults().isEmpty, "no transfer came after the memory was gone")
  }

  /// A command that comes late, from a controller that was reset meanwhile, reaches nothing.
  @Test func aLateCommandReachesNothing() throws {
    var options = NVMeModelStand.usualOptions
    options.latency = .seconds(1)
    let stand = try NVMeModelStand(options)
    let clock = try SimulatedClock(.manual)
    let driver = try NVMeDriver(
      SimulatedFunction(stand.model, addressSpace: stand.space, clock: clock), Self.short)
    let namespace = try driver.controller.namespace(1)
    var queue = try driver.controller.makeQueuePair(depth: 4)
    var bytes = [UInt8](repeating: 1, count: 12288)
    do throws(NVMeError) {
      try queue.read(namespace, into: &bytes)
      Issue.record("a command that does not end")
    } catch {
      #expect(error.code == .timedOut)
    }
    clock.advance(by: .seconds(10))
    #expect(stand.space.takeFaults().isEmpty)
  }

  /// Without an IOMMU nothing would keep the controller off the memory later.
  @Test func withoutAnIOMMUNothingIsLent() throws {
    let stand = try NVMeModelStand()
    let space = PhysicalAddresses(stand.space)
    let driver = try NVMeDriver(SimulatedFunction(stand.model, in: space, seeing: stand.space))
    let namespace = try driver.controller.namespace(1)
    var queue = try driver.controller.makeQueuePair(depth: 4)
    space.areOthers.store(true, ordering: .relaxed)
    var bytes = [UInt8](repeating: 1, count: 3 * 4096)
    let before = stand.space.mappedRanges
    do throws(NVMeError) {
      try queue.read(namespace, into: &bytes)
      Issue.record("memory was lent")
    } catch {
      #expect(error.cause.kernelError?.errno == .notSupported, "\(error)")
    }
    #expect(stand.space.mappedRanges == before)
    #expect(bytes.allSatisfy { $0 == 1 })
  }

  #if DEBUG
    /// Whichever kernel call fails, nothing stays mapped but what could not be unmapped.
    @Test func aFailureLeavesNothing() throws {
      let swept = try faultSweep(concerning: { _ in false }) { plan in
        let stand = try NVMeModelStand()
        let driver = try stand.driver()
        let namespace = try driver.controller.namespace(1)
        var queue = try driver.controller.makeQueuePair(depth: 4)
        let before = stand.space.mappedRanges.count
        var bytes = [UInt8](repeating: 1, count: 3 * 4096 + 512)
        var span = bytes.mutableSpan
        var part = span._mutatingExtracting(16..<(16 + 3 * 4096))
        var raw = unsafe part.mutableBytes  // SAFETY: any byte is a UInt8
        FaultPlan.$current.withValue(plan) {
          do throws(NVMeError) {
            try queue.write(namespace, at: 0, from: raw.bytes)
            try queue.read(namespace, at: 0, into: &raw)
          } catch {
            #expect(error.code == .kernel, "\(error)")
          }
        }
        #expect(stand.space.mappedRanges.count - before <= 1)
        #expect(stand.space.takeFaults().isEmpty)
      }
      #expect(swept > 4, "\(swept) calls")
    }
  #endif
}

extension NVMeQueuePair {
  /// Reads the first blocks into a whole array.
  fileprivate mutating func read(
    _ namespace: NVMeNamespace, into bytes: inout [UInt8]
  ) throws(NVMeError) {
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes  // SAFETY: any byte is a UInt8
    try read(namespace, at: 0, into: &raw)
  }
}

/// An address space that says at a time of the test's choice that it translates nothing.
private final class PhysicalAddresses: AddressSpace {
  private let space: SimulatedAddressSpace
  let label = "physical addresses"
  let areOthers = Atomic<Bool>(false)
  var granuleByteCount: Int { space.granuleByteCount }
  var reservations: IOVAReservations { space.reservations }

  init(_ space: SimulatedAddressSpace) { self.space = space }

  @unsafe
  func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    try unsafe space.mapPages(base, to: range, access: access, sharing: sharing)
  }
  func unmapPages(_ range: IOVARange) throws(KernelError) { try space.unmapPages(range) }
  func synchronize(_ range: IOVARange, _ direction: DMASyncDirection) { space.synchronize(range, direction) }
  func busAddress(of range: IOVARange) throws(KernelError) -> IOVA {
    areOthers.load(ordering: .relaxed) ? range.start.advanced(byByteCount: 1 << 40) : range.start
  }
}
