// SPDX-License-Identifier: Apache-2.0
import CVhostVDPA
import Foundation
import LinuxHandles
import Synchronization
import TestSupport
import Testing
import VDUSE
import VDUSEBlock
import Virtqueues

extension KernelTests {
  /// T2: a device that goes to vhost-vdpa, where this process is the driver too.
  @Suite struct VDUSEVhostTests {
    /// Counts the chains that it passes on.
    final class Counting: VirtioService {
      let inner: BlockService
      let count = Atomic<Int>(0)
      init(_ inner: BlockService) { self.inner = inner }
      func serve(_ queue: inout ServedQueue) throws(QueueError) -> ServiceNeed {
        let before = queue.place.chainCount
        let need = try inner.serve(&queue)
        count.add(Int(queue.place.chainCount &- before), ordering: .relaxed)
        return need
      }
    }

    @Test func aDiskIsReadWrittenAndAskedForItsName() throws {
      let scratch = try Scratch()
      let path = try scratch.image(1 << 20)
      let served = try ServedDisk(DiskImage(path: path), scratch, to: "vhost_vdpa")
      let disk = try VhostDisk(servedAs: "t")
      for index in 0..<4096 { disk.store(UInt8(truncatingIfNeeded: index), at: VhostDisk.data + index) }
      #expect(try disk.request(1, sector: 8, byteCount: 4096, isWritten: false) == 0)
      let file = try Data(contentsOf: URL(fileURLWithPath: path))
      #expect(Array(file[4096..<8192]) == (0..<4096).map { UInt8(truncatingIfNeeded: $0) })
      for index in 0..<4096 { disk.store(UInt8(0), at: VhostDisk.data + index) }
      #expect(try disk.request(0, sector: 8, byteCount: 4096, isWritten: true) == 0)
      #expect(disk.load(UInt8.self, at: VhostDisk.data + 255) == 255)
      #expect(try disk.request(8, sector: 0, byteCount: 20, isWritten: true) == 0)
      #expect(disk.load(UInt8.self, at: VhostDisk.data) == UInt8(ascii: "t"))
      // Beyond the end, half a sector, a kind that nobody knows, an address that nobody mapped.
      #expect(try disk.request(0, sector: 2048, byteCount: 512, isWritten: true) == 1)
      #expect(try disk.request(0, sector: .max, byteCount: 512, isWritten: true) == 1)
      #expect(try disk.request(0, sector: 0, byteCount: 100, isWritten: true) == 1)
      #expect(try disk.request(99, sector: 0, byteCount: 512, isWritten: true) == 2)
      disk.offer(0, sector: 0, byteCount: 512, data: 0xdead_0000, isWritten: true)
      try disk.kickDevice()
      #expect(disk.wait() == 1)
      #expect(served.reports.all.isEmpty, "\(served.reports.all)")
    }

    /// The second queue's group moves to the second address space; in the first one nothing is mapped.
    @Test func eachGroupHasItsAddressSpace() throws {
      let scratch = try Scratch()
      let path = try scratch.image(1 << 20)
      let served = try ServedDisk(DiskImage(path: path), scratch, queueCount: 2, to: "vhost_vdpa") {
        ($0.groupCount, $0.addressSpaceCount, $0.queueGroups) = (2, 2, [0, 1])
      }
      let disk = try VhostDisk(servedAs: "t", queue: 1, space: 1)
      for index in 0..<512 { disk.store(UInt8(truncatingIfNeeded: index &* 3), at: VhostDisk.data + index) }
      #expect(try disk.request(1, sector: 8, byteCount: 512, isWritten: false) == 0)
      let file = try Data(contentsOf: URL(fileURLWithPath: path))
      #expect(Array(file[4096..<4608]) == (0..<512).map { UInt8(truncatingIfNeeded: $0 &* 3) })
      #expect(served.reports.all.isEmpty, "\(served.reports.all)")
    }

    @Test func memoryThatIsUnmappedIsNotUsedAnyMore() throws {
      let scratch = try Scratch()
      // A process of its own: while the kernel maps memory for vhost, the process of the driver cannot map or unmap.
      let server = try VDUSERestartTests.Server(scratch.image(1 << 20), name: "t", to: "vhost_vdpa")
      func mappings() throws -> Int {
        let maps = try String(contentsOfFile: "/proc/\(server.processID)/maps", encoding: .utf8)
        return maps.split(separator: "\n").count { $0.contains("memfd:vhost") }
      }
      let disk = try VhostDisk(servedAs: "t")
      #expect(try disk.request(0, sector: 0, byteCount: 512, isWritten: true) == 0)
      #expect(try mappings() == 1)
      try disk.unmap()
      #expect(try mappings() == 0, "gone when the update is answered")
      disk.offer(0, sector: 0, byteCount: 512, isWritten: true)
      try disk.kickDevice()
      #expect(disk.wait(for: .milliseconds(300)) == nil)
      try disk.map()
      #expect(disk.wait() == 0, "the request waited for the memory")
      disk.close()
      try server.end()
    }

    @Test func aSuspendedDeviceSaysHowFarItIs() throws {
      let scratch = try Scratch()
      let served = try ServedDisk(DiskImage(path: scratch.image(1 << 20)), scratch, to: "vhost_vdpa")
      let disk = try VhostDisk(servedAs: "t")
      for _ in 0..<5 { #expect(try disk.request(0, sector: 0, byteCount: 512, isWritten: true) == 0) }
      try disk.check(vhost_vdpa_suspend(disk.node))
      disk.offer(0, sector: 0, byteCount: 512, isWritten: true)
      try disk.kickDevice()
      #expect(disk.wait(for: .milliseconds(300)) == nil && vhost_vdpa_queue_base(disk.node, 0) == 5)
      try disk.check(vhost_vdpa_set_status(disk.node, 0))
      #expect(served.reports.all.isEmpty, "\(served.reports.all)")
    }

    @Test func aRingThatIsBrokenIsReportedAndResetHelps() throws {
      let scratch = try Scratch()
      let served = try ServedDisk(DiskImage(path: scratch.image(1 << 20)), scratch, to: "vhost_vdpa")
      do {
        let disk = try VhostDisk(servedAs: "t")
        // More chains than the ring has room for.
        disk.store(UInt16(100), at: 0x1002)
        try disk.kickDevice()
        for _ in 0..<200 where served.reports.all.isEmpty { usleep(10_000) }
        #expect(served.reports.all.contains { $0.contains("needs a reset") }, "\(served.reports.all)")
      }
      let disk = try VhostDisk(servedAs: "t")
      #expect(try disk.request(0, sector: 0, byteCount: 512, isWritten: true) == 0)
    }

    /// A server that died after it had done a request, and before it gave it back.
    @Test(arguments: [true, false])
    func whatTheLogSaysIsNotDoneAgain(_ isNoted: Bool) throws {
      let scratch = try Scratch()
      let path = try scratch.image(1 << 20)
      let first = try ServedDisk(DiskImage(path: path), scratch, to: "vhost_vdpa")
      let disk = try VhostDisk(servedAs: "t")
      for _ in 0..<3 { #expect(try disk.request(0, sector: 0, byteCount: 512, isWritten: true) == 0) }
      first.stop()
      let head = disk.offer(1, sector: 0, byteCount: 512, isWritten: false)
      if isNoted {
        let log = try InFlightLog(
          path: "\(scratch.path)/t.log", queueCount: 1, queueSize: 256, isFresh: false)
        log.note(.init(place: 3, id: head, writtenByteCount: 1), ofQueue: 0)
      }
      let image = try DiskImage(path: path)
      let counting = Counting(BlockService(image, identity: "t"))
      let second = try ServedDisk(image, scratch, to: "vhost_vdpa", service: counting)
      // Nobody kicks: the one that takes over looks for itself.
      _ = disk.wait()
      #expect(disk.usedIndex == 4 && counting.count.load(ordering: .relaxed) == (isNoted ? 0 : 1))
      #expect(try disk.request(0, sector: 0, byteCount: 512, isWritten: true) == 0)
      #expect(counting.count.load(ordering: .relaxed) == (isNoted ? 1 : 2))
      disk.close()
      try second.remove()
    }
  }
}
