// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxHandles
import Synchronization
import SystemPackage
import Testing

@Suite struct KernelCallTests {
  @Test func anInterruptedCallIsMadeAgain() throws {
    var tries = 0
    let value = try kernelCall("test") { () -> CInt in
      tries += 1
      return tries < 3 ? -EINTR : 7
    }
    #expect(value == 7)
    #expect(tries == 3)
  }

  @Test func anErrorSaysWhatOnWhatAndWhy() {
    let error = #expect(throws: KernelError.self) {
      try kernelCall("VFIO_TEST", on: "0000:01:00.0") { Int64(-EBUSY) }
    }
    #expect(error == KernelError(operation: "VFIO_TEST", errno: .resourceBusy, subject: "0000:01:00.0"))
    #expect(error?.description.hasPrefix("VFIO_TEST on 0000:01:00.0: ") == true)
    #expect(error?.description.hasSuffix("(errno 16)") == true)
  }

  @Test func firstAdviceStays() {
    let error = KernelError(operation: "x", errno: .noMemory, subject: "")
    let advised = error.advising("raise the limit").advising("something else")
    #expect(advised.remedy == "raise the limit")
    #expect(advised.description.hasSuffix(". raise the limit"))
  }

  #if DEBUG
    @Test func aPlanFailsExactlyOneCall() throws {
      let plan = FaultPlan(atCall: 2, .fails(.noMemory))
      var made: [Int] = []
      var failed: [Errno] = []
      FaultPlan.$current.withValue(plan) {
        for number in 1...3 {
          do throws(KernelError) {
            try kernelCall("call") { () -> CInt in
              made.append(number)
              return 0
            }
          } catch {
            failed.append(error.errno)
          }
        }
      }
      #expect(made == [1, 3])
      #expect(failed == [.noMemory])
      #expect(plan.callCount == 3 && plan.wasReached)
      try kernelCall("call") { CInt(0) }
      #expect(plan.callCount == 3)
    }

    @Test func aPlanMayBeOfOneCallAndOfThreads() throws {
      let plan = FaultPlan(atCall: 2, of: "second", .fails(.noMemory))
      let failed = Mutex<[String]>([])
      try FaultPlan.$ofNewThreads.withValue(plan) {
        let thread = try OwnedThread {
          for name in ["first", "second", "first", "second", "second"] as [StaticString] {
            do throws(KernelError) {
              try kernelCall(name) { CInt(0) }
            } catch {
              failed.withLock { $0.append(error.operation) }
            }
          }
        }
        _ = consume thread
        try kernelCall("second") { CInt(0) }
      }
      #expect(failed.withLock { $0 } == ["second"])
      #expect(plan.callCounts == ["second": 3] && plan.wasReached, "and not of this thread")
    }

    /// A release is done even where it is said to have failed: a sweep must not leak by itself.
    @Test func aPlannedFaultOfAReleaseReleasesFirst() {
      var isReleased = false
      let error = #expect(throws: KernelError.self) {
        try FaultPlan.$current.withValue(FaultPlan(atCall: 1)) {
          try kernelRelease("close") {
            isReleased = true
            return 0
          }
        }
      }
      #expect(isReleased)
      #expect(error?.errno == .ioError)
    }

    @Test func aPlanCanKill() async {
      await #expect(processExitsWith: .signal(SIGKILL)) {
        try FaultPlan.$current.withValue(FaultPlan(atCall: 1, .kills)) { _ = try EventFD() }
      }
    }
  #endif
}
