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
      var processID: Int32 { child.processID }

      init(
        _ path: String, name: String, queueCount: Int = 1, to driver: String = "virtio_vdpa",
        isPacked: Bool = false
      ) throws {
        child = try ChildProcess(
          Lab.vfioctl,
          [
            "serve", "block", "--file", path, "--name", name, "--queues", "\(queueCount)", "--driver", driver,
          ] + (isPacked ? ["--packed"] : []))
        let said = child.read()
        try #require(said.hasPrefix("serving "), "\(said)")
      }

      func kill() {
        child.signal(SIGKILL)
        _ = child.wait()
      }

      /// Ends it in order, which takes the disk away.
      func end() throws {
        child.signal(SIGTERM)
        try #require(child.wait() == 0, "\(child.read())")
      }
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
      let path = try scratch.image(1 << 20)
      let served = try ServedDisk(DiskImage(path: path), scratch)
      let error = #expect(throws: KernelError.self) { try ServedDisk(DiskImage(path: path), scratch) }
      #expect(error?.errno == .resourceBusy && error?.remedy?.contains("another process") == true)
      _ = served
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
