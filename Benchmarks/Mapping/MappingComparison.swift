// SPDX-License-Identifier: Apache-2.0
internal import CTwinsMapping
internal import DMACore
internal import Glibc
internal import IOMMUFD
internal import LinuxHandles

/// Nanoseconds of this library, and of the kernel's calls alone.
struct MappingFigures {
  let library, calls: Double
}

/// What each was seen to take, turn by turn.
private struct MappingTurns {
  private var library: [Double] = []
  private var calls: [Double] = []

  mutating func add(library: Double, calls: Double) {
    self.library.append(library)
    self.calls.append(calls)
  }

  /// Medians of what one of so many, done in each turn, took; without the first turn, which makes page tables.
  func medians(per count: Int = 1) -> MappingFigures {
    MappingFigures(
      library: Self.median(library.dropFirst()) / Double(count),
      calls: Self.median(calls.dropFirst()) / Double(count))
  }

  private static func median(_ values: some Collection<Double>) -> Double {
    values.sorted()[values.count / 2]
  }
}

/// Maps the same memory at the same addresses in turns: by this library, and by the kernel's calls.
struct MappingComparison {
  private static let rounds = 15
  private static let pairsPerRound = 64

  private let space: any AddressSpace
  private let twin: twin_space

  init(_ space: any AddressSpace) throws {
    self.space = space
    if let ioas = space as? IOAS {
      twin = twin_space(fd: ioas.context.descriptor, is_ioas: true, ioas: ioas.id.rawValue)
    } else {
      twin = twin_space(fd: try Self.descriptor(of: "/dev/vfio/vfio"), is_ioas: false, ioas: 0)
    }
  }

  /// Medians of map and unmap.
  func pairs(of memory: consuming UnsharedMemory) throws -> MappingFigures {
    let (base, byteCount) = unsafe Self.place(of: &memory)
    var turns = MappingTurns()
    for _ in 0...Self.rounds {
      var iova = IOVA(0)
      let start = Self.now()
      for _ in 0..<Self.pairsPerRound {
        let exposed = try space.expose(memory, access: .readWrite)
        iova = exposed.iova
        memory = try exposed.reclaim()
      }
      turns.add(library: Self.now() - start, calls: try unsafe timeOfCalls(base, byteCount, at: iova))
    }
    return turns.medians(per: Self.pairsPerRound)
  }

  /// Medians of map and unmap by an IOAS's own calls: no range is chosen, and no ledger kept.
  func calls(
    of memory: consuming UnsharedMemory, in ioas: IOAS, at iova: IOVA
  ) throws -> MappingFigures {
    let (base, byteCount) = unsafe Self.place(of: &memory)
    let bytes = unsafe UnsafeRawBufferPointer(start: base, count: byteCount)
    var turns = MappingTurns()
    for _ in 0...Self.rounds {
      let start = Self.now()
      for _ in 0..<Self.pairsPerRound {
        try ioas.unmapBytes(unsafe ioas.mapBytes(bytes, at: iova, access: .readWrite))
      }
      turns.add(library: Self.now() - start, calls: try unsafe timeOfCalls(base, byteCount, at: iova))
    }
    return turns.medians(per: Self.pairsPerRound)
  }

  /// Medians of map alone.
  func mapping(of memory: consuming UnsharedMemory) throws -> MappingFigures {
    let (base, byteCount) = unsafe Self.place(of: &memory)
    var turns = MappingTurns()
    for _ in 0...4 {
      var start = Self.now()
      let exposed = try space.expose(memory, access: .readWrite)
      let libraryTime = Self.now() - start
      let iova = exposed.iova.rawValue
      memory = try exposed.reclaim()
      start = Self.now()
      let result = unsafe twin_space_map(twin, base, iova, UInt64(byteCount))
      turns.add(library: libraryTime, calls: Self.now() - start)
      try kernelCall("map") { result }
      try kernelCall("unmap") { twin_space_unmap(twin, iova, UInt64(byteCount)) }
    }
    return turns.medians()
  }

  /// How long the pairs of one turn take by the kernel's calls alone.
  @unsafe
  private func timeOfCalls(_ base: UnsafeMutableRawPointer, _ byteCount: Int, at iova: IOVA) throws -> Double
  {
    let start = Self.now()
    let result = unsafe twin_space_pairs(
      twin, base, iova.rawValue, UInt64(byteCount), UInt32(Self.pairsPerRound))
    let time = Self.now() - start
    try kernelCall("map and unmap") { result }
    return time
  }

  @unsafe
  private static func place(of memory: inout UnsharedMemory) -> (UnsafeMutableRawPointer, Int) {
    let byteCount = memory.byteCount
    var bytes = memory.bytes
    // The memory stays where it is while it changes its owner.
    let base = unsafe bytes.withUnsafeMutableBytes { unsafe $0.baseAddress.unsafelyUnwrapped }
    return unsafe (base, byteCount)
  }

  /// The descriptor of the only open file of this name.
  private static func descriptor(of path: String) throws -> CInt {
    for number in 0..<256 as Range<CInt> {
      var target = [CChar](repeating: 0, count: 256)
      let count = unsafe readlink("/proc/self/fd/\(number)", &target, target.count)
      if count > 0, String(decoding: target.prefix(count).map(UInt8.init), as: UTF8.self) == path {
        return number
      }
    }
    fatalError("nobody has opened \(path)")
  }

  private static func now() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
  }
}
