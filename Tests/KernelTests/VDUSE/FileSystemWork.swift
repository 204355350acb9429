// SPDX-License-Identifier: Apache-2.0
import CVhostVDPA
import Foundation
import Testing

/// Random writes to one file of a file system, and a look at all of it.
///
/// Every block of 4 KiB says where it belongs and which round wrote it, so that a lost, torn or repeated write shows.
final class FileSystemWork {
  private let folder: String
  private let descriptor: CInt
  private let blockCount: Int
  private var random: UInt64
  private var rounds: [UInt32]

  /// Mounts a device, and makes the file.
  init(_ node: String, _ folder: String, byteCount: Int, seed: UInt64) throws {
    self.folder = folder
    blockCount = byteCount / 4096
    random = seed
    rounds = .init(repeating: 0, count: blockCount)
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try #require(unsafe mount(node, folder, "ext4", 0, nil) == 0, "mount: errno \(errno)")
    descriptor = unsafe open("\(folder)/file", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    try #require(descriptor >= 0)
  }

  private func next() -> UInt64 {
    random ^= random << 13
    random ^= random >> 7
    random ^= random << 17
    return random
  }

  /// Writes runs of 1 to 64 blocks at random places, as many bytes as the file has, in the given round.
  func write(round: UInt32) throws {
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 64 * 4096, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    var written = 0
    while written < blockCount {
      let first = Int(next() % UInt64(blockCount))
      let end = min(first + Int(next() % 64) + 1, blockCount)
      for block in first..<end {
        unsafe block_fill(buffer + (block - first) * 4096, UInt32(block), round)
        rounds[block] = round
      }
      let length = (end - first) * 4096
      try #require(unsafe pwrite(descriptor, buffer, length, first * 4096) == length, "errno \(errno)")
      written += end - first
      if next() % 64 == 0 { try #require(fsync(descriptor) == 0) }
    }
    try #require(fsync(descriptor) == 0, "fsync: errno \(errno)")
  }

  /// Reads the file from the disk, and compares every block.
  func verify() throws {
    try Data("3".utf8).write(to: URL(fileURLWithPath: "/proc/sys/vm/drop_caches"))
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
    defer { unsafe buffer.deallocate() }
    for block in 0..<blockCount where rounds[block] != 0 {
      let count = unsafe pread(descriptor, buffer, 4096, block * 4096)
      guard count == 4096, unsafe block_is(buffer, UInt32(block), rounds[block]) == 1 else {
        Issue.record("block \(block) is not of round \(rounds[block])")
        return
      }
    }
  }

  /// Writes as many rounds, and looks at all of it after each.
  func writeAndVerify(rounds: UInt32) throws {
    for round in 1...rounds {
      // Of a gigabyte each takes minutes, and the lab takes a guest that is silent for one that hangs.
      try write(round: round)
      print("round \(round) of \(blockCount) blocks is written")
      try verify()
      print("and read back")
    }
  }

  /// Closes the file and unmounts.
  func unmount() throws {
    close(descriptor)
    try #require(unsafe umount(folder) == 0, "umount: errno \(errno)")
  }
}
