// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import Synchronization
import SystemPackage
import TestSupport
import Testing
import VDUSEBlock

/// A file that goes with the test.
private final class TemporaryFile {
  let path = FileManager.default.temporaryDirectory.appending(path: "disk-\(UUID().uuidString)").path()
  init(_ bytes: Data) throws {
    try #require(FileManager.default.createFile(atPath: path, contents: bytes))
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Whether such files can be read and written past the page cache.
  static var canBeDirect: Bool {
    guard let file = try? TemporaryFile(Data(count: 4096)) else { return false }
    return (try? DiskImage(path: file.path, isDirect: true)) != nil
  }
}

/// Memory of a driver, which requests are cut from.
@safe
private final class DriverMemory {
  let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 17, alignment: 4096)
  deinit { unsafe bytes.deallocate() }

  /// Pieces from an offset on, whole sectors each, one of which ends at `cut`.
  func parts(at start: Int, byteCount: Int, cut: Int) -> MemoryParts {
    var parts = MemoryParts(capacity: 2)
    for range in [start..<start + cut, start + cut..<start + byteCount] where !range.isEmpty {
      _ = unsafe parts.append(UnsafeMutableRawBufferPointer(rebasing: bytes[range]))
    }
    return parts
  }
}

/// Disks whose images are read and written past the page cache, on the file system of the temporary files.
@Suite(.enabled(if: TemporaryFile.canBeDirect, "the file system of temporary files has no direct I/O"))
struct DirectDiskTests {
  private static let alignments: [DirectAlignment?] = [
    nil, .page, DirectAlignment(memory: 512, offset: 4096), DirectAlignment(memory: 4096, offset: 8192),
  ]

  /// Requests of any place, length and alignment give and take the bytes that a file of the page cache would.
  @Test(arguments: alignments, [(1 << 18) + 512, (1 << 18) + 4095, 12288, 512])
  func requestsOfAnyAlignmentAreServed(_ alignment: DirectAlignment?, _ byteCount: Int) throws {
    var random = SystemRandomNumberGenerator()
    var expected = Data((0..<byteCount).map { UInt8(truncatingIfNeeded: $0 &* 131 >> 5) })
    let file = try TemporaryFile(expected)
    let image = try DiskImage(path: file.path, isDirect: true, alignment: alignment)
    let memory = DriverMemory()
    let sectorCount = Int(image.sectorCount)
    #expect(sectorCount == byteCount / 512)
    for round in 0..<200 {
      // Every other request is aligned as well as it can be.
      let unit = round % 2 == 0 ? 8 : 1
      let first = Int.random(in: 0..<sectorCount, using: &random) / unit * unit
      let count = min(Int.random(in: 1...128, using: &random) * unit, sectorCount - first, 128)
      let start = round % 3 == 0 ? Int.random(in: 0..<128, using: &random) * 16 : 0
      let cut = Int.random(in: 0...count, using: &random) * 512
      var parts = memory.parts(at: start, byteCount: count * 512, cut: cut)
      let place = first * 512..<(first + count) * 512
      if round % 4 < 2 {
        for index in 0..<count * 512 {
          unsafe memory.bytes[start + index] = UInt8(truncatingIfNeeded: round &* 7 &+ index >> 3)
        }
        unsafe expected.replaceSubrange(place, with: memory.bytes[start..<start + count * 512])
        try image.write(&parts, at: UInt64(first))
      } else {
        unsafe memory.bytes.initializeMemory(as: UInt8.self, repeating: 0xee)
        try image.read(into: &parts, at: UInt64(first))
        let isEqual = unsafe expected[place] == Data(memory.bytes[start..<start + count * 512])
        #expect(isEqual, "sectors \(first) to \(first + count), memory at \(start), cut at \(cut)")
      }
    }
    try image.flush()
    #expect(try Data(contentsOf: URL(filePath: file.path)) == expected, "and the file kept its length")
  }

  /// Each thread has every other sector, so that all blocks have sectors of both.
  @Test func twoThatChangeOneBlockLoseNothing() throws {
    let file = try TemporaryFile(Data(count: 65536))
    let image = try DiskImage(path: file.path, isDirect: true, alignment: .page)
    let failures = Mutex<[String]>([])
    do {
      var threads: [SectorThread] = []
      for parity in 0..<2 {
        threads.append(
          try SectorThread {
            let memory = DriverMemory()
            unsafe memory.bytes.initializeMemory(as: UInt8.self, repeating: UInt8(parity + 1))
            for sector in stride(from: parity, to: 128, by: 2) {
              var parts = memory.parts(at: 0, byteCount: 512, cut: 0)
              do throws(KernelError) {
                try image.write(&parts, at: UInt64(sector))
              } catch {
                failures.withLock { $0.append("\(error)") }
              }
            }
          })
      }
      _ = consume threads
    }
    #expect(failures.withLock { $0 }.isEmpty, "\(failures.withLock { $0 })")
    let bytes = try Data(contentsOf: URL(filePath: file.path))
    let wrong = (0..<128).filter { bytes[$0 * 512] != UInt8($0 % 2 + 1) }
    #expect(wrong.isEmpty, "sectors \(wrong)")
  }

  @Test func zeroesReachTheFile() throws {
    let file = try TemporaryFile(Data(repeating: 7, count: 8192 + 512))
    let image = try DiskImage(path: file.path, isDirect: true, alignment: .page)
    try image.zero(sector: 3, byteCount: 6 * 512, mayDeallocate: false)
    try image.zero(sector: 15, byteCount: 1024, mayDeallocate: true)
    let bytes = try Data(contentsOf: URL(filePath: file.path))
    let zeroes = (0..<17).filter { bytes[$0 * 512] == 0 && bytes[$0 * 512 + 511] == 0 }
    #expect(zeroes == Array(3..<9) + [15, 16] && bytes.count == 8192 + 512)
  }

  @Test func aFileThatIsCutShortIsAnError() throws {
    let file = try TemporaryFile(Data(count: 65536))
    let image = try DiskImage(path: file.path, isDirect: true)
    try #require(unsafe truncate(file.path, 4096) == 0)
    let memory = DriverMemory()
    for (start, sector) in [(0, 64), (16, 64), (0, 0), (16, 0)] as [(Int, UInt64)] {
      #expect(throws: KernelError.self) {
        var parts = memory.parts(at: start, byteCount: 8192, cut: 4096)
        try image.read(into: &parts, at: sector)
      }
    }
  }

  #if DEBUG
    @Test func everyCallMayFail() throws {
      let file = try TemporaryFile(Data(count: 4096 + 512))
      let memory = DriverMemory()
      // Other tests have images open meanwhile.
      let concerns: (String) -> Bool = { [path = file.path] in $0.hasPrefix(path) }
      let swept = try faultSweep(.ioError, concerning: concerns) { plan in
        do {
          try FaultPlan.$current.withValue(plan) {
            let image = try DiskImage(path: file.path, isDirect: true)
            // A part of a block, then the end of the file.
            var parts = memory.parts(at: 16, byteCount: 512, cut: 0)
            try image.write(&parts, at: 1)
            parts = memory.parts(at: 0, byteCount: 1024, cut: 512)
            try image.read(into: &parts, at: 7)
            try image.flush()
          }
        } catch let error as KernelError {
          #expect(plan.wasReached && error.errno == .ioError, "\(error)")
        }
      }
      #expect(swept >= 9, "\(swept) calls")
    }
  #endif
}

/// A thread that arrays can hold; its end is waited for.
private final class SectorThread: Sendable {
  private let thread: OwnedThread
  init(_ body: @escaping @Sendable () -> Void) throws { thread = try OwnedThread(running: body) }
}
