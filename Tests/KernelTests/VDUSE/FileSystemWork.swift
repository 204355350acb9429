// SPDX-License-Identifier: Apache-2.0
import CVhostVDPA
import Foundation
import Testing

/// Random writes to one file of a file system, and a look at all of it.
///
/// Every block of 4 KiB says where it belongs and which round wrote it, so that a lost, torn or repeated write shows.
final class FileSystemWork {
  private static let blockByteCount = 4096
  private static let readByteCount = 1 << 20
  private static let reportByteCount = 64 << 20

  private let folder: String
  private let descriptor: CInt
  private let blockCount: Int
  private let runLimit: UInt64
  private var random: UInt64
  private var rounds: [UInt32]

  /// Mounts a device, and makes the file.
  /// - Parameter runLimit: How many blocks are written at a time, at most.
  init(
    _ node: String, _ folder: String, byteCount: Int, seed: UInt64, runLimit: Int = 64
  ) throws {
    self.folder = folder
    self.runLimit = UInt64(runLimit)
    blockCount = byteCount / Self.blockByteCount
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

  /// Says how far it is, each time another part is done: the lab takes a guest that is silent for one that hangs.
  private struct Progress {
    let what: String
    private let start = ContinuousClock.now
    private var reported = 0

    init(_ what: String) { self.what = what }

    mutating func come(to byteCount: Int) {
      guard byteCount >= reported + FileSystemWork.reportByteCount else { return }
      reported = byteCount
      print("\(what) \(byteCount >> 20) MiB after \((ContinuousClock.now - start).components.seconds) s")
    }
  }

  /// Writes runs of blocks at random places, as many bytes as the file has, in the given round.
  func write(round: UInt32) throws {
    let buffer = UnsafeMutableRawPointer.allocate(
      byteCount: Int(runLimit) * Self.blockByteCount, alignment: Self.blockByteCount)
    defer { unsafe buffer.deallocate() }
    var progress = Progress("written")
    var written = 0
    while written < blockCount {
      let first = Int(next() % UInt64(blockCount))
      let end = min(first + Int(next() % runLimit) + 1, blockCount)
      for block in first..<end {
        unsafe block_fill(buffer + (block - first) * Self.blockByteCount, UInt32(block), round)
        rounds[block] = round
      }
      let length = (end - first) * Self.blockByteCount
      let count = unsafe pwrite(descriptor, buffer, length, first * Self.blockByteCount)
      try #require(count == length, "errno \(errno)")
      written += end - first
      if next() % 64 == 0 { try #require(fsync(descriptor) == 0) }
      progress.come(to: written * Self.blockByteCount)
    }
    try #require(fsync(descriptor) == 0, "fsync: errno \(errno)")
  }

  /// Reads the file from the disk, and compares every block.
  func verify() throws {
    try Data("3".utf8).write(to: URL(fileURLWithPath: "/proc/sys/vm/drop_caches"))
    let buffer = UnsafeMutableRawPointer.allocate(
      byteCount: Self.readByteCount, alignment: Self.blockByteCount)
    defer { unsafe buffer.deallocate() }
    var progress = Progress("read back")
    for start in stride(from: 0, to: blockCount, by: Self.readByteCount / Self.blockByteCount) {
      let place = start * Self.blockByteCount
      // The last blocks may be a hole behind the end of the file.
      let count = unsafe pread(descriptor, buffer, Self.readByteCount, place) / Self.blockByteCount
      for block in start..<min(start + Self.readByteCount / Self.blockByteCount, blockCount)
      where rounds[block] != 0 {
        let bytes = unsafe buffer + (block - start) * Self.blockByteCount
        guard block - start < count, unsafe block_is(bytes, UInt32(block), rounds[block]) == 1 else {
          Issue.record("block \(block) is not of round \(rounds[block])")
          return
        }
      }
      progress.come(to: place)
    }
  }

  /// Writes as many rounds, and looks at all of it after each.
  func writeAndVerify(rounds: UInt32) throws {
    for round in 1...rounds {
      try write(round: round)
      try verify()
    }
  }

  /// Closes the file and unmounts.
  func unmount() throws {
    close(descriptor)
    try #require(unsafe umount(folder) == 0, "umount: errno \(errno)")
  }
}
