// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import SystemPackage
import Testing

/// Pieces of memory, and files past the page cache.
@Suite struct DirectAccessTests {
  @Test func piecesAreFilledAndTakenInOrder() throws {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 64)
    defer { unsafe memory.deallocate() }
    for index in 0..<64 { unsafe memory[index] = UInt8(index) }
    var parts = MemoryParts(capacity: 3)
    // The pieces are 8...11, 32...39 and 0...3.
    for range in [8..<12, 32..<40, 0..<4] {
      let isAdded = unsafe parts.append(UnsafeMutableRawBufferPointer(rebasing: memory[range]))
      #expect(isAdded)
    }
    var taken = [UInt8](repeating: 0, count: 6)
    unsafe taken.withUnsafeMutableBytes { unsafe parts.takeFirst(into: $0) }
    #expect(taken == [8, 9, 10, 11, 32, 33] && parts.byteCount == 10)
    var new: [UInt8] = [100, 101, 102, 103, 104, 105, 106, 107]
    unsafe new.withUnsafeMutableBytes { unsafe parts.fillFirst(from: $0) }
    #expect(parts.byteCount == 2)
    #expect(unsafe Array(memory[33..<41]) == [33, 100, 101, 102, 103, 104, 105, 40])
    #expect(unsafe Array(memory[0..<4]) == [106, 107, 2, 3])
  }

  @Test func piecesKnowTheirAlignment() throws {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 1024)
    defer { unsafe memory.deallocate() }
    func areMultiples(_ ranges: [Range<Int>], _ address: Int, _ length: Int) -> Bool {
      var parts = MemoryParts(capacity: ranges.count)
      for range in ranges { _ = unsafe parts.append(UnsafeMutableRawBufferPointer(rebasing: memory[range])) }
      return parts.areMultiples(ofAddress: address, length: length)
    }
    #expect(areMultiples([0..<512, 1024..<2048], 512, 512))
    #expect(!areMultiples([0..<512, 1024..<2048], 512, 1024), "the first length")
    #expect(!areMultiples([0..<512, 512..<1024], 1024, 512), "the second address")
    #expect(areMultiples([512..<1024, 516..<1028], 4, 512) && areMultiples([], 512, 512))
  }

  @Test func whatHasNoDirectAccessSaysSo() throws {
    let error = #expect(throws: KernelError.self) {
      _ = try OwnedDescriptor.openDirect("/proc/version", for: .read)
    }
    #expect(error?.errno == .invalidArgument && error?.remedy?.contains("O_DIRECT") == true)
    let missing = #expect(throws: KernelError.self) {
      _ = try OwnedDescriptor.openDirect("/nowhere", for: .read)
    }
    #expect(missing?.errno == .noSuchFileOrDirectory && missing?.remedy == nil)
  }

  /// Device nodes that are no disks have none to tell.
  @Test func whatDoesNotTellItsAlignmentHasThatOfAPage() throws {
    #expect(try DirectAlignment(of: OwnedDescriptor.open("/dev/zero", for: .read)) == .page)
  }
}
