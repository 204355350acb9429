// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxHandles
import TestSupport
import Testing

/// Mappings of a file whose addresses leave a given rest.
@Suite struct AlignedMappingTests {
  private static let page = 4096

  /// A file of three pages, each filled with its number.
  private static func file() throws -> OwnedDescriptor {
    let path = NSTemporaryDirectory() + "aligned-\(UUID().uuidString)"
    defer { unsafe unlink(path) }
    try Data((0..<3).flatMap { [UInt8](repeating: $0 + 1, count: page) })
      .write(to: URL(fileURLWithPath: path))
    return try OwnedDescriptor.open(path, for: .readWrite)
  }

  @Test(arguments: [(1 << 21, 0), (1 << 21, 4096), (1 << 21, (1 << 21) - 4096), (4096, 0), (1 << 30, 8192)])
  func theAddressLeavesTheRest(_ alignment: Int, _ rest: Int) throws {
    let file = try Self.file()
    for index in 0..<3 {
      let mapping = try MappedMemory.sharing(
        file, offset: UInt64(index * Self.page), byteCount: Self.page, alignment: alignment, rest: rest)
      let address = unsafe Int(bitPattern: mapping.baseAddress)
      #expect(address & (alignment - 1) == rest && mapping.byteCount == Self.page)
      let first = unsafe mapping.baseAddress.load(as: UInt8.self)
      #expect(first == UInt8(index + 1))
    }
  }

  #if DEBUG
    /// In a process of its own: other tests map memory meanwhile.
    @Test func aFailureLeavesNothing() async {
      await #expect(processExitsWith: .success) {
        let descriptor = try AlignedMappingTests.file()
        let before = try AlignedMappingTests.mappedByteCount()
        let calls = try faultSweep(concerning: { $0.contains("aligned-") }) { plan in
          _ = try? FaultPlan.$current.withValue(plan) {
            _ = try MappedMemory.sharing(
              descriptor, offset: 0, byteCount: 3 * AlignedMappingTests.page, alignment: 1 << 30, rest: 0)
          }
        }
        guard calls >= 4 else { exit(3) }
        // Addresses without a file behind them are no file of the sweep: look for the reserve of a gibibyte.
        guard try AlignedMappingTests.mappedByteCount() < before + 1 << 29 else { exit(4) }
      }
    }

    /// The addresses that this process has taken, whatever is behind them.
    private static func mappedByteCount() throws -> Int {
      let pages = try TextFile.contents(of: "/proc/self/statm").split(separator: " ").first.flatMap {
        Int($0)
      }
      return try #require(pages) * page
    }
  #endif
}
