// SPDX-License-Identifier: Apache-2.0
#if DEBUG
  import DMACore
  import LinuxHandles
  import SoftwareIOTLB
  import SystemPackage
  import TestSupport
  import Testing

  /// Each kernel call fails in turn: an error, no leak, and the rest goes on.
  @Suite(.serialized) struct IOTLBFaultTests {
    private let label = "iotlb-faults"
    /// Other tests make domains at the same time.
    private func concerns(_ path: String) -> Bool { path.contains(label) }

    @Test func makingADomain() throws {
      let count = try faultSweep(.noMemory, concerning: concerns) { plan in
        let error = FaultPlan.$current.withValue(plan) { () -> KernelError? in
          do throws(KernelError) {
            let domain = try IOTLBDomain(.small, label: label)
            _ = try IOTLBView(of: domain)
            return nil
          } catch {
            return error
          }
        }
        #expect((error?.errno == .noMemory) == plan.wasReached)
      }
      // memfd_create, ftruncate, fcntl, mmap, madvise, mmap of the table; mmap, madvise and the guard of a view.
      #expect(count == 9)
    }

    /// A failure before the pages have an address leaves nothing; one while it is taken back leaves them parked, with
    /// their address, as long as the domain lives.
    @Test(arguments: [DMASharing.coherent, .streaming])
    func exposing(sharing: DMASharing) throws {
      var parkedCount = 0
      let count = try faultSweep(.noMemory, concerning: concerns) { plan in
        let domain = try IOTLBDomain(.small, label: label)
        var isExposed = false
        let error = FaultPlan.$current.withValue(plan) { () -> KernelError? in
          do throws(KernelError) {
            let memory = try domain.expose(
              UnsharedMemory(byteCount: 8192), access: .readWrite, sharing: sharing)
            isExposed = true
            memory.store(UInt8(0x5a), at: 4096)
            memory.syncForDevice()
            var mine = try memory.reclaim()
            isExposed = false
            let span = mine.bytes
            #expect(unsafe span.unsafeLoad(fromByteOffset: 4096, as: UInt8.self) == 0x5a)
            return nil
          } catch {
            return error
          }
        }
        let isParked = error != nil && isExposed
        parkedCount += isParked ? 1 : 0
        #expect(domain.exposures.map(\.isParked) == (isParked ? [true] : []))
        #expect(domain.reservations.parkedByteCount == (isParked ? 8192 : 0))
        // Also where a call failed that only gives pages back.
        if !isParked { #expect(try RawDeviceSide(of: domain).pages(with: 0x5a) == []) }
      }
      // Of memory: mmap, madvise. Of the exposure: mmap, madvise; mmap, madvise. Of the file's pages: madvise.
      #expect(count == (sharing == .coherent ? 7 : 3) && parkedCount == (sharing == .coherent ? 2 : 0))
    }

    @Test func aResetThatCannotEmptyThePagesZeroesThem() throws {
      let domain = try IOTLBDomain(.small, label: label)
      let buffer = try DriverBuffer(4096, filledWith: 0x5a)
      _ = try domain.map(buffer, .toDevice)
      let plan = FaultPlan(atCall: 1, .fails(.noMemory))
      try FaultPlan.$current.withValue(plan) { try domain.resetBounceMap() }
      #expect(plan.wasReached)
      #expect(try RawDeviceSide(of: domain).pages(with: 0x5a) == [])
    }
  }
#endif
