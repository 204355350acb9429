// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import Synchronization
import SystemPackage
import TestSupport
import Testing
import VDUSE
import VDUSEBlock

extension KernelTests {
  /// T2: servers that are killed, and those after them.
  @Suite struct VDUSERestartTests {
    /// `vfioctl serve block` as a process of its own, which can be killed.
    final class Server {
      private let child: ChildProcess
      let said: String
      var processID: Int32 { child.processID }

      init(
        _ path: String, name: String, queueCount: Int? = 1, to driver: String = "virtio_vdpa",
        isPacked: Bool = false
      ) throws {
        child = try ChildProcess(
          Lab.vfioctl,
          [
            "serve", "block", "--file", path, "--name", name, "--driver", driver,
          ] + (queueCount.map { ["--queues", "\($0)"] } ?? []) + (isPacked ? ["--packed"] : []))
        said = child.read()
        try #require(said.hasPrefix("serving "), "\(said)")
      }

      func kill() {
        child.signal(SIGKILL)
        _ = child.wait()
      }

      func signal(_ number: CInt) { child.signal(number) }

      /// Waits until it has ended by itself.
      func waitForEnd() -> (code: CInt, text: String) {
        let text = child.readToEnd()
        return (child.exitCode, text)
      }

      /// Ends it in order, which takes the disk away.
      func end() throws {
        child.signal(SIGTERM)
        try #require(child.wait() == 0, "\(child.read())")
      }
    }

    @Test func aDiskHasAQueueForEachProcessor() throws {
      let scratch = try Scratch()
      let server = try Server(scratch.image(1 << 20), name: "k", queueCount: nil)
      do {
        let name = try KernelDisk(servedAs: "k").node.split(separator: "/").last ?? ""
        let queues = try FileManager.default.contentsOfDirectory(atPath: "/sys/block/\(name)/mq")
        #expect(queues.count == sysconf(CInt(_SC_NPROCESSORS_ONLN)))
      }
      try server.end()
    }

    @Test(arguments: [false, true])
    func aServerThatIsKilledLosesNothing(_ isPacked: Bool) throws {
      let scratch = try Scratch()
      let path = try scratch.image(128 << 20)
      var server = try Server(path, name: "k", queueCount: 2, isPacked: isPacked)
      let node = try KernelDisk(servedAs: "k").node
      try run("/usr/sbin/mkfs.ext4", "-q", node)
      let work = try FileSystemWork(node, "\(scratch.path)/m", byteCount: 32 << 20, seed: 0xdead)
      let failures = Mutex<[String]>([])
      let isOver = Atomic<Bool>(false)
      // Handed to its thread, which alone uses it until it ends.
      nonisolated(unsafe) let worker = work
      do {
        let thread = try OwnedThread {
          do {
            for round in 1...3 as ClosedRange<UInt32> {
              try unsafe worker.write(round: round)
              try unsafe worker.verify()
            }
          } catch { failures.withLock { $0.append("\(error)") } }
          isOver.store(true, ordering: .releasing)
        }
        for kill in 0..<5 {
          usleep(useconds_t(200_000 + kill * 170_000))
          let isTooLate = isOver.load(ordering: .acquiring)
          #expect(!isTooLate, "kill \(kill)")
          server.kill()
          server = try Server(path, name: "k", queueCount: 2, isPacked: isPacked)
          print("killed and started again")
        }
        _ = consume thread
      }
      #expect(failures.withLock { $0 }.isEmpty, "\(failures.withLock { $0 })")
      try work.verify()
      try work.unmount()
      #expect(try run("/usr/sbin/fsck.ext4", "-fn", node).contains("Pass 5"))
      try server.end()
    }

    /// One writer for each of a few blocks, which counts up: an older write that comes again after a newer one was
    /// reported done would be seen.
    @Test(arguments: [false, true])
    func noWriteIsTornOrRepeated(_ isPacked: Bool) throws {
      let scratch = try Scratch()
      let path = try scratch.image(4 << 20)
      var server = try Server(path, name: "k", queueCount: 2, isPacked: isPacked)
      let failures = Mutex<[String]>([])
      let isOver = Atomic<Bool>(false)
      do {
        let disk = try KernelDisk(servedAs: "k")
        nonisolated(unsafe) let shared = disk
        let writers = try (0..<2).map { writer in
          try WriterThread {
            var round: UInt8 = 0
            var written = Data(repeating: 0, count: 65536)
            do {
              while !isOver.load(ordering: .acquiring) {
                round = round &+ 1
                let place = Int(round % 4) * 16384
                let bytes = Data(repeating: round, count: 16384)
                try unsafe shared.write(bytes, at: writer * 65536 + place)
                written.replaceSubrange(place..<place + 16384, with: bytes)
                // The older ones too: nothing of before comes again.
                let back = try unsafe shared.read(65536, at: writer * 65536)
                if back != written {
                  failures.withLock {
                    $0.append("round \(round): \(back.first ?? 0), not \(written.first ?? 0)")
                  }
                }
              }
            } catch { failures.withLock { $0.append("\(error)") } }
          }
        }
        for kill in 0..<6 {
          usleep(useconds_t(100_000 + kill * 30_000))
          server.kill()
          server = try Server(path, name: "k", queueCount: 2, isPacked: isPacked)
        }
        isOver.store(true, ordering: .releasing)
        _ = consume writers
      }
      #expect(failures.withLock { $0 }.isEmpty, "\(failures.withLock { $0 })")
      try server.end()
    }

    @Test func twoServersDoNotServeOneDevice() throws {
      let scratch = try Scratch()
      let served = try ServedDisk(DiskImage(path: scratch.image(1 << 20)), scratch)
      let other = try DiskImage(path: scratch.image(1 << 20, "other.img"))
      let error = #expect(throws: KernelError.self) { try ServedDisk(other, scratch) }
      #expect(error?.errno == .resourceBusy && error?.remedy?.contains("another process") == true)
      _ = served
    }

    /// Whoever waits for a server that does not come back is told so.
    @Test(arguments: [false, true])
    func aDiskWhoseServerIsGoneIsTakenAway(_ isPacked: Bool) throws {
      let scratch = try Scratch()
      let server = try Server(scratch.image(1 << 20), name: "k", isPacked: isPacked)
      let errors = Mutex<[CInt]>([])
      do {
        let disk = try KernelDisk(servedAs: "k")
        try disk.write(Data(repeating: 1, count: 4096), at: 0)
        server.kill()
        nonisolated(unsafe) let shared = disk
        let writer = try WriterThread {
          do {
            try unsafe shared.write(Data(repeating: 2, count: 4096), at: 4096)
          } catch { errors.withLock { $0.append((error as? KernelDisk.Failure)?.errno ?? 0) } }
        }
        usleep(200_000)
        try run(Lab.vfioctl, "serve", "remove", "k")
        _ = consume writer
      }
      #expect(errors.withLock { $0 } == [EIO])
      #expect(!FileManager.default.fileExists(atPath: "/dev/vduse/k"))
    }

    /// Whatever a server would choose today, a disk stays as it was made.
    @Test func aDiskKeepsItsNumberOfQueues() throws {
      let scratch = try Scratch()
      let path = try scratch.image(1 << 20)
      let first = try Server(path, name: "k", queueCount: 3)
      do {
        let disk = try KernelDisk(servedAs: "k")
        try disk.write(Data(repeating: 1, count: 4096), at: 0)
        first.kill()
        let refused = try Outcome(["serve", "block", "--file", path, "--name", "k", "--queues", "2"])
        #expect(refused.code == 1 && refused.text.contains("it has 3 queues, and not 2"), "\(refused)")
        let other = try Outcome(["serve", "net", "--echo", "k"])
        #expect(other.code == 1 && other.text.contains("it is a disk, and not a network card"), "\(other)")
        let second = try Server(path, name: "k", queueCount: nil)
        #expect(second.said.contains("resumed"), "\(second.said)")
        try disk.write(Data(repeating: 2, count: 4096), at: 4096)
        #expect(
          try disk.read(8192, at: 0) == Data(repeating: 1, count: 4096) + Data(repeating: 2, count: 4096))
        second.kill()
      }
      try Server(path, name: "k", queueCount: 3).end()
    }

    /// The kernel waits for an answer, and gives the device up: nothing can be served any more, and each command says so.
    @Test func aServerEndsWhoseDeviceIsGivenUp() throws {
      let scratch = try Scratch()
      let path = try scratch.image(1 << 20)
      let server = try Server(path, name: "k")
      _ = try KernelDisk(servedAs: "k")
      try Data("1".utf8).write(to: URL(filePath: "/sys/class/vduse/k/msg_timeout"))
      server.signal(SIGSTOP)
      // The driver resets the device as it goes.
      try Data("k".utf8).write(to: URL(filePath: "/sys/bus/vdpa/drivers/virtio_vdpa/unbind"))
      server.signal(SIGCONT)
      let end = server.waitForEnd()
      let words = "given the device up for good: vfioctl serve remove k"
      #expect(end.code == 1 && end.text.contains(words), "\(end)")
      let next = try Outcome(["serve", "block", "--file", path, "--name", "k"])
      #expect(next.code == 1 && next.text.contains(words), "\(next)")
      let removal = try Outcome(["serve", "remove", "k"])
      #expect(removal.code == 0 && removal.text.isEmpty, "\(removal)")
      try Server(path, name: "k").end()
    }

    @Test func aServerInThisProcessGoesOnAfterAnother() throws {
      let scratch = try Scratch()
      let path = try scratch.image(1 << 20)
      let first = try ServedDisk(DiskImage(path: path), scratch)
      let disk = try KernelDisk(servedAs: "t")
      try disk.write(Data(repeating: 1, count: 4096), at: 0)
      first.stop()
      nonisolated(unsafe) let shared = disk
      // Waits for the second server.
      let writer = try WriterThread { try? unsafe shared.write(Data(repeating: 2, count: 4096), at: 4096) }
      usleep(200_000)
      let second = try ServedDisk(DiskImage(path: path), scratch)
      #expect(second.device.isRecovered)
      _ = consume writer
      #expect(try disk.read(8192, at: 0) == Data(repeating: 1, count: 4096) + Data(repeating: 2, count: 4096))
    }
  }
}

/// A thread that arrays can hold; its end is waited for.
final class WriterThread: Sendable {
  private let thread: OwnedThread
  init(_ body: @escaping @Sendable () -> Void) throws { thread = try OwnedThread(running: body) }
}
