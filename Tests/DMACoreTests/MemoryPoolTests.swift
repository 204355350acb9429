// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import SystemPackage
import Testing

@Suite struct MemoryPoolTests {
  private func pool(_ byteCount: Int, _ sliceByteCount: Int) throws -> DMAPool {
    let memory = try PageShareSpace("IOAS 1").expose(UnsharedMemory(byteCount: byteCount), access: .readWrite)
    return try DMAPool(memory, sliceByteCount: sliceByteCount)
  }

  private struct Empty: Error {}
  private final class Kept {
    let slice: DMASlice
    init(_ slice: consuming DMASlice) { self.slice = slice }
  }

  private func oneSlice(of pool: DMAPool) throws -> DMASlice {
    guard let slice = pool.take() else { throw Empty() }
    return slice
  }

  @Test func slicesAreApartAndComeBack() throws {
    let pool = try pool(8192, 2048)
    #expect(pool.sliceCount == 4 && pool.freeCount == 4)
    let first = try oneSlice(of: pool)
    let second = try oneSlice(of: pool)
    first.store(UInt64(1), at: 2040)
    second.store(UInt64(2), at: 0)
    #expect(first.load(UInt64.self, at: 2040) == 1 && second.load(UInt64.self, at: 0) == 2)
    #expect(second.iova.rawValue == first.iova.rawValue + 2048 && first.iova.rawValue % 2048 == 0)
    #expect(pool.freeCount == 2)
    let iova = second.iova
    _ = consume second
    let again = try oneSlice(of: pool)
    #expect(again.iova == iova && pool.freeCount == 2)
  }

  @Test func anEmptyPoolSaysSo() throws {
    let pool = try pool(4096, 2048)
    let slices = [Kept(try oneSlice(of: pool)), Kept(try oneSlice(of: pool))]
    #expect(throws: Empty.self) { _ = try oneSlice(of: pool) }
    #expect(slices[0].slice.iova != slices[1].slice.iova)
  }

  @Test func anAbandonedSliceIsNeverReused() throws {
    let pool = try pool(4096, 2048)
    let slice = try oneSlice(of: pool)
    let iova = slice.iova
    slice.abandon()
    let other = try oneSlice(of: pool)
    #expect(other.iova != iova && pool.freeCount == 0)
  }

  @Test func theMappingLastsAsLongAsASlice() throws {
    let space = PageShareSpace("IOAS 1")
    let memory = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    var pool: DMAPool? = try DMAPool(memory, sliceByteCount: 64)
    let slice = try oneSlice(of: #require(pool))
    pool = nil
    #expect(space.mappings.count == 1)
    slice.store(UInt8(1), at: 63)
    _ = consume slice
    #expect(space.mappings.isEmpty)
  }

  @Test(arguments: [0, -8, 4, 100, 8192, Int.max])
  func impossibleSlicesAreErrors(_ byteCount: Int) throws {
    let space = PageShareSpace("IOAS 1")
    do throws(KernelError) {
      _ = try DMAPool(
        space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite), sliceByteCount: byteCount)
      Issue.record("made")
    } catch {
      #expect(error.errno == .invalidArgument && space.mappings.isEmpty)
    }
  }
}
