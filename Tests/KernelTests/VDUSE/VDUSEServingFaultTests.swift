// SPDX-License-Identifier: Apache-2.0
#if DEBUG
  import Foundation
  import LinuxHandles
  import SystemPackage
  import TestSupport
  import Testing
  import VDUSE
  import VDUSEBlock

  extension KernelTests {
    /// T2: whichever kernel call of a server's threads fails, the driver's request ends in an error, or the server says which
    /// call it was and the next one goes on with the device.
    @Suite struct VDUSEServingFaultTests {
      /// What becomes of a call that fails.
      private enum Fate {
        /// The request that needed it ends in an I/O error, and nothing else happens.
        case failsRequest
        /// It is made again, and nobody sees anything.
        case isRepeated
        /// It is reported, by its name; the next server goes on.
        case isReported
        /// One of these, as the place has it.
        case either
      }

      private static func fate(of operation: String) -> Fate {
        switch operation {
        case "preadv", "pwritev", "fdatasync", "fallocate": .failsRequest
        case "VDUSE_VQ_INJECT_IRQ": .isRepeated
        case "epoll_wait", "read", "write", "VDUSE_DEV_GET_FEATURES", "VDUSE_VQ_GET_INFO",
          "VDUSE_VQ_SETUP_KICKFD":
          .isReported
        default: .either
        }
      }

      @Test func whicheverCallOfAServersThreadsFails() throws {
        let all = FaultPlan(atCall: 0)
        let whole = try life(under: all)
        #expect(whole.reports.isEmpty && whole.failures.isEmpty, "\(whole)")
        let counts = all.callCounts
        print("a server's threads call \(counts.sorted { $0.key < $1.key })")
        for operation in [
          "epoll_wait", "read", "write", "mmap", "VDUSE_DEV_GET_FEATURES", "VDUSE_VQ_GET_INFO",
          "VDUSE_VQ_SETUP_KICKFD", "VDUSE_VQ_INJECT_IRQ", "preadv", "pwritev", "fdatasync", "fallocate",
        ] {
          #expect(counts[operation] ?? 0 > 0, "\(operation) is made by a server's threads")
        }
        for (operation, count) in counts.sorted(by: { $0.key < $1.key }) {
          for call in 1...min(count, 8) { try fail(call, of: operation) }
        }
        // The machine is as it was.
        let last = try life(under: FaultPlan(atCall: 0))
        #expect(last.reports.isEmpty && last.failures.isEmpty, "\(last)")
      }

      private func fail(_ call: Int, of operation: String) throws {
        let leaks = LeakCheck { $0.contains("vduse") || $0.contains("event") }
        let plan = FaultPlan(atCall: call, of: operation, .fails(.noMemory))
        let life = try life(under: plan, isPacked: call % 2 == 0)
        try leaks.verify()
        print("\(operation), call \(call): \(life)")
        guard plan.wasReached else { return }
        let place: Comment = "\(operation), call \(call): \(life)"
        let isNamed = life.reports.contains { $0.contains(operation) && $0.contains("(errno 12)") }
        switch Self.fate(of: operation) {
        case .failsRequest:
          #expect(life.reports.isEmpty && life.failures.allSatisfy { $0.errno == EIO }, place)
          // Reads may be those of the kernel, which looks for partitions.
          #expect(!life.failures.isEmpty || operation == "preadv", place)
        case .isRepeated: #expect(life.reports.isEmpty && life.failures.isEmpty, place)
        case .isReported: #expect(isNamed, place)
        case .either: #expect(isNamed || life.reports.isEmpty, place)
        }
      }

      // MARK: One life

      /// What was seen of a server, and of the one after it.
      private struct Life: CustomStringConvertible {
        /// What the driver was refused.
        var failures: [DiskWork.Failure] = []
        var reports: [String] = []
        var wasReplaced = false
        var description: String { "refused \(failures), reported \(reports), replaced \(wasReplaced)" }
      }

      /// Serves a disk to a driver that uses it once in each way.
      ///
      /// A server that reports something is replaced by one that nothing happens to.
      private func life(under plan: FaultPlan, isPacked: Bool = false) throws -> Life {
        let scratch = try Scratch()
        let path = try scratch.image(DiskWork.byteCount)
        try DiskWork.before.write(to: URL(filePath: path))
        let reports = ServedDisk.Reports()
        func present() throws -> PresentedDevice {
          let block = BlockService(
            try DiskImage(path: path), identity: "f", offersPackedRings: isPacked)
          return try PresentedDevice(
            block.description(name: "f"), block, queueSize: 64, logPath: "\(scratch.path)/f.log"
          ) { reports.add($0) }
        }
        var life = Life()
        var device = try FaultPlan.$ofNewThreads.withValue(plan) { try present() }
        let work = try DiskWork("f")
        func replace() throws {
          device.stop()
          life.reports = reports.all
          device = try present()
          life.wasReplaced = true
          #expect(device.isRecovered)
        }
        wait { work.isOver || !reports.all.isEmpty }
        #expect(work.isOver || !reports.all.isEmpty, "it neither serves nor says why")
        if !work.isOver || !reports.all.isEmpty { try replace() }
        wait { work.isOver }
        life.failures = work.failures
        // A server that fails from now on lets the kernel wait this long for its answer.
        try Data("3".utf8).write(to: URL(filePath: "/sys/class/vduse/f/msg_timeout"))
        try device.remove()
        if !life.wasReplaced { life.reports = reports.all }
        #expect(!FileManager.default.fileExists(atPath: "/dev/vduse/f"))
        try work.compare(with: path)
        return life
      }

      private func wait(until isOver: () -> Bool) {
        let end = ContinuousClock.now + .seconds(60)
        while !isOver(), ContinuousClock.now < end { usleep(5000) }
      }
    }
  }
#endif
