// SPDX-License-Identifier: Apache-2.0
import CVhostVDPA
import Foundation
import TestSupport
import Testing
import VDUSE
import VDUSEBlock

extension KernelTests {
  /// T2: the kernel's own block driver on a disk that this process serves.
  @Suite struct VDUSEDiskTests {
    /// Pages that differ from their neighbours.
    private static func pages(_ count: Int, _ seed: UInt8) -> Data {
      (0..<count).reduce(into: Data()) { data, page in
        data.append(Data(repeating: UInt8(truncatingIfNeeded: page * 7) &+ seed, count: 4088))
        data.append(contentsOf: (0..<8).map { UInt8(truncatingIfNeeded: page >> (4 * $0)) })
      }
    }

    @Test(arguments: [false, true], [false, true])
    func bytesGoThroughTheImage(_ isPacked: Bool, _ hasTables: Bool) throws {
      let scratch = try Scratch()
      let path = try scratch.image(8 << 20)
      let served = try ServedDisk(
        DiskImage(path: path), scratch, queueCount: 2, isPacked: isPacked, hasTables: hasTables)
      let bytes = Self.pages(300, 1)
      do {
        let disk = try KernelDisk(servedAs: "t")
        // More than one request can carry, and one page at the very end.
        try disk.write(bytes, at: 1 << 20)
        try disk.write(bytes.prefix(4096), at: (8 << 20) - 4096)
        try disk.flush()
        #expect(try disk.read(bytes.count, at: 1 << 20) == bytes)
        #expect(try disk.read(4096, at: 0) == Data(count: 4096))
        let name = disk.node.split(separator: "/").last ?? ""
        #expect(try String(contentsOfFile: "/sys/block/\(name)/serial", encoding: .utf8) == "t")
      }
      let file = try Data(contentsOf: URL(fileURLWithPath: path))
      #expect(file.count == 8 << 20 && file[(1 << 20)..<(1 << 20) + bytes.count] == bytes)
      #expect(file.suffix(4096) == bytes.prefix(4096))
      try served.remove()
      #expect(served.reports.all.isEmpty, "\(served.reports.all)")
      #expect(!FileManager.default.fileExists(atPath: "/dev/vduse/t"))
    }

    /// Completion in the order of submission is agreed with kernels that know it.
    @Test(arguments: [false, true])
    func requestsMayBeGivenBackInOrder(_ isPacked: Bool) throws {
      let scratch = try Scratch()
      let served = try ServedDisk(DiskImage(path: scratch.image(8 << 20)), scratch, isPacked: isPacked) {
        $0.features |= 1 << 35
      }
      let folder = "/sys/bus/vdpa/devices/t"
      let virtio = try FileManager.default.contentsOfDirectory(atPath: folder).first {
        $0.hasPrefix("virtio")
      }
      // One digit for each bit.
      let features = try Array(String(contentsOfFile: "\(folder)/\(virtio ?? "")/features", encoding: .utf8))
      #expect(features[35] == "1" && features[34] == (isPacked ? "1" : "0"))
      let disk = try KernelDisk(servedAs: "t")
      let bytes = Self.pages(1024, 5)
      for round in 0..<4 {
        let part = bytes.dropFirst(round * 4096)
        try disk.write(Data(part), at: 0)
        #expect(try disk.read(part.count, at: 0) == part)
      }
      #expect(served.reports.all.isEmpty, "\(served.reports.all)")
    }

    @Test func whatIsDiscardedOrZeroedReadsAsZeroes() throws {
      let scratch = try Scratch()
      let path = try scratch.image(4 << 20)
      let served = try ServedDisk(DiskImage(path: path), scratch)
      let disk = try KernelDisk(servedAs: "t")
      try disk.write(Self.pages(1024, 3), at: 0)
      func blocks() throws -> Int {
        var facts = stat()
        try #require(unsafe stat(path, &facts) == 0)
        return facts.st_blocks
      }
      #expect(try blocks() == 8192)
      #expect(block_discard(disk.descriptor, 0, 1 << 20) == 0)
      #expect(try blocks() == 6144, "the file got a hole")
      #expect(block_zero(disk.descriptor, 1 << 20, 1 << 20) == 0)
      #expect(try disk.read(2 << 20, at: 0) == Data(count: 2 << 20))
      #expect(try disk.read(2 << 20, at: 2 << 20) == Self.pages(1024, 3).suffix(2 << 20))
      _ = served
    }

    /// The rest of a file that is no whole sector is not seen; what is before it can be used to the last sector.
    @Test(arguments: [(1 << 20) + 512, (1 << 20) + 4095, (3 << 20) - 1, 512])
    func aFileMayHaveAnyLength(_ byteCount: Int) throws {
      let scratch = try Scratch()
      let path = try scratch.image(byteCount)
      let served = try ServedDisk(DiskImage(path: path), scratch)
      let disk = try KernelDisk(servedAs: "t")
      let last = byteCount / 512 * 512 - 512
      let sector = Data((0..<512).map { UInt8(truncatingIfNeeded: $0 ^ 0x5a) })
      try disk.write(sector, at: last)
      #expect(try disk.read(512, at: last) == sector)
      #expect(throws: KernelDisk.Failure.self) { try disk.write(sector, at: last + 512) }
      let file = try Data(contentsOf: URL(fileURLWithPath: path))
      #expect(file.count == byteCount && file[last..<last + 512] == sector)
      _ = served
    }

    @Test func aReadOnlyDiskIsNotWritten() throws {
      let scratch = try Scratch()
      let path = try scratch.image(1 << 20)
      let served = try ServedDisk(DiskImage(path: path, isReadOnly: true), scratch)
      let disk = try KernelDisk(servedAs: "t")
      let name = disk.node.split(separator: "/").last ?? ""
      #expect(try String(contentsOfFile: "/sys/block/\(name)/ro", encoding: .utf8) == "1\n")
      #expect(throws: KernelDisk.Failure.self) { try disk.write(Data(repeating: 1, count: 4096), at: 0) }
      #expect(try disk.read(4096, at: 0) == Data(count: 4096))
      _ = served
    }

    @Test func aFileThatIsCutShortIsAnErrorOfTheRequest() throws {
      let scratch = try Scratch()
      let path = try scratch.image(1 << 20)
      let served = try ServedDisk(DiskImage(path: path), scratch)
      let disk = try KernelDisk(servedAs: "t")
      try #require(unsafe truncate(path, 512 << 10) == 0)
      let error = #expect(throws: KernelDisk.Failure.self) { try disk.read(4096, at: 768 << 10) }
      #expect(error?.errno == EIO)
      #expect(throws: KernelDisk.Failure.self) { try disk.read(8192, at: (512 << 10) - 4096) }
      #expect(try disk.read(4096, at: 0).count == 4096, "the rest works")
      _ = served
    }

    @Test func aFullFileSystemIsAnErrorOfTheRequest() throws {
      let scratch = try Scratch()
      let folder = "\(scratch.path)/small"
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      try #require(unsafe mount("small", folder, "tmpfs", 0, "size=1m") == 0)
      defer { unsafe umount(folder) }
      let path = "\(folder)/disk.img"
      try #require(FileManager.default.createFile(atPath: path, contents: nil))
      try #require(unsafe truncate(path, 8 << 20) == 0)
      do {
        let served = try ServedDisk(DiskImage(path: path), scratch)
        let disk = try KernelDisk(servedAs: "t")
        let error = #expect(throws: KernelDisk.Failure.self) { try disk.write(Self.pages(1024, 0), at: 0) }
        #expect(error?.errno == EIO)
        #expect(try disk.read(4096, at: 4 << 20) == Data(count: 4096), "the rest works")
        _ = served
      }
    }

    @Test func aFileSystemKeepsWhatIsWritten() throws {
      let scratch = try Scratch()
      let byteCount = Lab.isSoak ? 1 << 30 : 64 << 20
      let image = try DiskImage(path: scratch.image(byteCount + (128 << 20)))
      let served = try ServedDisk(image, scratch, queueCount: 2)
      let node = try KernelDisk(servedAs: "t").node
      try run("/usr/sbin/mkfs.ext4", "-q", node)
      let work = try FileSystemWork(
        node, "\(scratch.path)/m", byteCount: byteCount, seed: 0x5eed, runLimit: Lab.isSoak ? 256 : 64)
      try work.writeAndVerify(rounds: Lab.isSoak ? 1 : 2)
      try work.unmount()
      #expect(try run("/usr/sbin/fsck.ext4", "-fn", node).contains("Pass 5"))
      try served.remove()
      #expect(served.reports.all.isEmpty, "\(served.reports.all)")
    }
  }
}
