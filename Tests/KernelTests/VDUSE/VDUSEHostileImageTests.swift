// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import SystemPackage
import TestSupport
import Testing
import VDUSE
import VDUSEBlock

extension KernelTests {
  /// T2: images that fill up, shrink, vanish or cannot be written, under a file system that the kernel has mounted from them.
  @Suite struct VDUSEHostileImageTests {
    /// A file system on a served disk, and a file in it.
    private final class Mounted {
      let folder: String
      let descriptor: CInt
      private var isMounted = true

      init(_ node: String, _ scratch: Scratch) throws {
        folder = "\(scratch.path)/m"
        // One group of blocks, and no journal: what an error does to these is no matter of the disk.
        try run("/usr/sbin/mkfs.ext4", "-q", "-b", "4096", "-O", "^has_journal", node)
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try #require(unsafe mount(node, folder, "ext4", 0, nil) == 0, "mount: errno \(errno)")
        descriptor = unsafe open("\(folder)/file", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        try #require(descriptor >= 0)
      }
      deinit { if isMounted { unmount() } }

      /// Writes so many MiB from the beginning, and waits until the disk has them.
      /// - Returns: 0, or the errno.
      func write(_ mebibytes: Int, _ byte: UInt8) -> CInt {
        let piece = [UInt8](repeating: byte, count: 1 << 20)
        for index in 0..<mebibytes {
          if unsafe pwrite(descriptor, piece, piece.count, index << 20) < 0 { return errno }
        }
        return fsync(descriptor) == 0 ? 0 : errno
      }

      /// Reads one MiB from the disk.
      /// - Returns: 0, or the errno; -1 for other bytes than `byte`.
      func read(_ mebibyte: Int, _ byte: UInt8) throws -> CInt {
        try Data("3".utf8).write(to: URL(fileURLWithPath: "/proc/sys/vm/drop_caches"))
        var piece = [UInt8](repeating: 0, count: 1 << 20)
        for place in stride(from: 0, to: piece.count, by: 4096) {
          let count = unsafe piece.withUnsafeMutableBytes {
            unsafe pread(descriptor, $0.baseAddress?.advanced(by: place), 4096, mebibyte << 20 + place)
          }
          if count < 0 { return errno }
        }
        return piece.allSatisfy { $0 == byte } ? 0 : -1
      }

      func unmount() {
        isMounted = false
        close(descriptor)
        #expect(unsafe umount(folder) == 0, "umount: errno \(errno)")
      }
    }

    /// The disk works: what is written to its last block is read.
    private func expectLife(of disk: KernelDisk, _ byteCount: Int) throws {
      let page = Data(repeating: 0x6c, count: 4096)
      try disk.write(page, at: byteCount - 4096)
      #expect(try disk.read(4096, at: byteCount - 4096) == page)
    }

    @Test(arguments: [false, true])
    func aFullFileSystemUnderAMountedOne(_ isDirect: Bool) throws {
      let scratch = try Scratch()
      let small = "\(scratch.path)/small"
      try FileManager.default.createDirectory(atPath: small, withIntermediateDirectories: true)
      try #require(unsafe mount("small", small, "tmpfs", 0, "size=12m") == 0)
      defer { unsafe umount(small) }
      let path = try scratch.image(64 << 20, "small/disk.img")
      let served = try ServedDisk(DiskImage(path: path, isDirect: isDirect), scratch)
      let disk = try KernelDisk(servedAs: "t")
      let mounted = try Mounted(disk.node, scratch)
      #expect(mounted.write(2, 1) == 0)
      #expect(mounted.write(24, 2) == EIO, "no space is an I/O error to a driver")
      mounted.unmount()
      // There is room again: the server has not noticed anything. Another file system, since the first one has lost writes.
      try #require(unsafe mount("small", small, "tmpfs", UInt(MS_REMOUNT), "size=80m") == 0)
      let next = try Mounted(disk.node, scratch)
      #expect(next.write(24, 3) == 0)
      let outcome = try next.read(20, 3)
      #expect(outcome == 0)
      next.unmount()
      try expectLife(of: disk, 64 << 20)
      try served.remove()
      #expect(served.reports.all.isEmpty, "\(served.reports.all)")
    }

    @Test(arguments: [false, true])
    func aFileThatIsCutShortUnderAMountedFileSystem(_ isDirect: Bool) throws {
      let scratch = try Scratch()
      let path = try scratch.image(64 << 20)
      let served = try ServedDisk(DiskImage(path: path, isDirect: isDirect), scratch)
      let disk = try KernelDisk(servedAs: "t")
      let mounted = try Mounted(disk.node, scratch)
      #expect(mounted.write(40, 1) == 0)
      // The file system's own tables are at the beginning.
      try #require(unsafe truncate(path, 16 << 20) == 0)
      let reads = try stride(from: 0, to: 40, by: 6).map { try mounted.read($0, 1) }
      #expect(reads.contains(EIO) && Set(reads).isSubset(of: [0, EIO]), "\(reads)")
      // What is written makes the file longer again.
      try #require(unsafe truncate(path, 64 << 20) == 0)
      #expect(mounted.write(40, 2) == 0)
      let outcome = try mounted.read(39, 2)
      #expect(outcome == 0)
      mounted.unmount()
      try expectLife(of: disk, 64 << 20)
      try served.remove()
      #expect(served.reports.all.isEmpty, "\(served.reports.all)")
    }

    @Test func aFileThatIsRemovedIsServedToTheEnd() throws {
      let scratch = try Scratch()
      let path = try scratch.image(32 << 20)
      let served = try ServedDisk(DiskImage(path: path), scratch)
      let disk = try KernelDisk(servedAs: "t")
      let mounted = try Mounted(disk.node, scratch)
      #expect(mounted.write(4, 1) == 0)
      try #require(unsafe unlink(path) == 0)
      #expect(mounted.write(8, 2) == 0)
      #expect(try mounted.read(7, 2) == 0)
      mounted.unmount()
      #expect(try run("/usr/sbin/fsck.ext4", "-fn", disk.node).contains("Pass 5"))
      try served.remove()
      #expect(served.reports.all.isEmpty, "\(served.reports.all)")
      let gone = #expect(throws: KernelError.self) { try DiskImage(path: path) }
      #expect(gone?.errno == .noSuchFileOrDirectory && gone?.subject == path)
    }

    @Test func whatCannotBeWrittenIsServedReadOnly() throws {
      let scratch = try Scratch()
      let folder = "\(scratch.path)/fixed"
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      try #require(unsafe mount("fixed", folder, "tmpfs", 0, nil) == 0)
      defer { unsafe umount(folder) }
      let path = try scratch.image(1 << 20, "fixed/disk.img")
      try #require(unsafe mount("fixed", folder, "tmpfs", UInt(MS_REMOUNT | MS_RDONLY), nil) == 0)
      let error = #expect(throws: KernelError.self) { try DiskImage(path: path) }
      #expect(error?.errno == .readOnlyFileSystem && error?.remedy?.contains("--read-only") == true)
      do {
        let served = try ServedDisk(DiskImage(path: path, isReadOnly: true), scratch)
        #expect(try KernelDisk(servedAs: "t").read(4096, at: 0) == Data(count: 4096))
        try served.remove()
        #expect(served.reports.all.isEmpty, "\(served.reports.all)")
      }
    }

    /// Two disks with one image would each write what the other one does not know.
    @Test func anImageHasOneServer() throws {
      let scratch = try Scratch()
      let path = try scratch.image(1 << 20)
      let other = try Scratch()
      do {
        let served = try ServedDisk(DiskImage(path: path), scratch)
        for isReadOnly in [false, true] {
          let error = #expect(throws: KernelError.self) { try DiskImage(path: path, isReadOnly: isReadOnly) }
          #expect(error?.operation == "flock" && error?.errno == .wouldBlock && error?.subject == path)
          #expect(error?.remedy?.contains("another process serves this image") == true)
        }
        try served.remove()
      }
      // Those that only read it may be many.
      let first = try ServedDisk(DiskImage(path: path, isReadOnly: true), scratch)
      let second = try ServedDisk(DiskImage(path: path, isReadOnly: true), other, name: "u")
      #expect(throws: KernelError.self) { try DiskImage(path: path) }
      try second.remove()
      try first.remove()
    }
  }
}
