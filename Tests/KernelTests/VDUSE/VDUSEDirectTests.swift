// SPDX-License-Identifier: Apache-2.0
import Foundation
import TestSupport
import Testing
import VDUSEBlock

extension KernelTests {
  /// T2: disks whose images are read and written past the page cache, and what fio finds of them.
  @Suite struct VDUSEDirectTests {
    /// Where an image is.
    enum Place: CaseIterable {
      case tmpfs, ext4, blockDevice

      /// Calls `body` with the path of an image of 8 MiB, or more, on the lab's NVMe device.
      func withImage(_ scratch: Scratch, _ body: (String) throws -> Void) throws {
        let device = "/dev/nvme0n1"
        switch self {
        case .tmpfs: try body(scratch.image(8 << 20))
        case .blockDevice: try body(device)
        case .ext4:
          try run("/usr/sbin/mkfs.ext4", "-q", "-F", device)
          let folder = "\(scratch.path)/m"
          try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
          try #require(unsafe mount(device, folder, "ext4", 0, nil) == 0, "mount: errno \(errno)")
          defer { unsafe umount(folder) }
          try body(scratch.image(8 << 20, "m/disk.img"))
        }
      }
    }

    @Test(arguments: Place.allCases)
    func whatIsWrittenDirectlyIsInTheImage(_ place: Place) throws {
      let scratch = try Scratch()
      try place.withImage(scratch) { path in
        let served = try ServedDisk(DiskImage(path: path, isDirect: true), scratch, queueCount: 2)
        let bytes = Data((0..<(300 * 4096)).map { UInt8(truncatingIfNeeded: $0 >> 9 &* 37 ^ $0) })
        do {
          let disk = try KernelDisk(servedAs: "t")
          // Whole pages, single sectors, and more than one request can carry.
          try disk.write(bytes, at: 1 << 20)
          try disk.write(bytes.prefix(512), at: (4 << 20) + 512)
          try disk.write(bytes.prefix(1536), at: (8 << 20) - 1536)
          try disk.flush()
          #expect(try disk.read(bytes.count, at: 1 << 20) == bytes)
          #expect(try disk.read(2048, at: 4 << 20).suffix(1536).prefix(512) == bytes.prefix(512))
        }
        let file = try FileHandle(forReadingFrom: URL(filePath: path))
        func read(_ byteCount: Int, at offset: UInt64) throws -> Data? {
          try file.seek(toOffset: offset)
          return try file.read(upToCount: byteCount)
        }
        #expect(try read(bytes.count, at: 1 << 20) == bytes)
        #expect(try read(1024, at: 4 << 20)?.suffix(512) == bytes.prefix(512))
        #expect(try read(1536, at: (8 << 20) - 1536) == bytes.prefix(1536))
        try served.remove()
        #expect(served.reports.all.isEmpty, "\(served.reports.all)")
      }
    }

    /// Random writes whose blocks carry checksums, and a look at all of them, as fio does it.
    @Test(arguments: [("psync", 1, false), ("libaio", 8, true), ("io_uring", 32, false)])
    func fioFindsWhatItWrote(_ engine: String, _ depth: Int, _ isDirect: Bool) throws {
      let scratch = try Scratch()
      let byteCount = Lab.isSoak ? 64 << 20 : 16 << 20
      let image = try DiskImage(path: scratch.image(byteCount), isDirect: isDirect)
      let served = try ServedDisk(image, scratch, queueCount: 2)
      let node = try KernelDisk(servedAs: "t").node
      let said = try run(
        "/usr/bin/fio", "--name=verified", "--filename=\(node)", "--direct=1", "--rw=randwrite", "--bs=8k",
        "--ioengine=\(engine)", "--iodepth=\(depth)", "--verify=crc32c", "--verify_fatal=1", "--thread",
        "--randseed=\(depth)")
      #expect(said.contains("err= 0"), "\(said)")
      // As many bytes were read as were written.
      #expect(said.contains("READ: ") && said.contains("WRITE: "), "\(said)")
      try served.remove()
      #expect(served.reports.all.isEmpty, "\(served.reports.all)")
    }
  }
}
