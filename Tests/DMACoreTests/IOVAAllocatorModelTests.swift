// SPDX-License-Identifier: Apache-2.0
import DMACore
import TestSupport
import Testing

/// The allocator against a set that knows each unit.
@Suite struct IOVAAllocatorModelTests {
  /// What is allowed, free and handed out, one word per unit of the space.
  private struct Model {
    static let count = 256
    let unit: UInt64
    var isAllowed = [Bool](repeating: true, count: count)
    var isFree = [Bool](repeating: true, count: count)
    var held: [Range<Int>] = []

    init(unit: UInt64, hole: Range<Int>) {
      self.unit = unit
      for place in hole { (isAllowed[place], isFree[place]) = (false, false) }
    }

    func range(_ places: Range<Int>) -> IOVARange {
      IOVARange(
        start: IOVA(UInt64(places.lowerBound) * unit), last: IOVA(UInt64(places.upperBound) * unit - 1))
    }

    func places(_ range: IOVARange) -> Range<Int> {
      Int(range.start.rawValue / unit)..<Int(range.last.rawValue / unit + 1)
    }

    /// The ranges where a property holds.
    func ranges(where property: [Bool]) -> [IOVARange] {
      var (ranges, start) = ([IOVARange](), 0)
      for place in 0...Self.count where place == Self.count || !property[place] {
        if start < place { ranges.append(range(start..<place)) }
        start = place + 1
      }
      return ranges
    }

    func fits(_ places: Range<Int>) -> Bool { places.allSatisfy { isFree[$0] } }

    /// The lowest place but 0 that is aligned, free and below the limit.
    func lowest(_ length: Int, _ alignment: Int, upTo limit: Int) -> Int? {
      stride(from: alignment, through: limit + 1 - length, by: alignment).first { fits($0..<($0 + length)) }
    }

    mutating func take(_ places: Range<Int>) {
      for place in places { isFree[place] = false }
      held.append(places)
    }

    mutating func giveBack(at index: Int) -> Range<Int> {
      let places = held.remove(at: index)
      for place in places { isFree[place] = isAllowed[place] }
      return places
    }
  }

  #if DEBUG
    private static let stepCount = 8000
  #else
    private static let stepCount = 336_000  // for each of three units: a million for each seed
  #endif

  /// With units of a granule everything goes through the magazines; with smaller ones, only some.
  @Test(arguments: SeededNumbers.seeds("IOVA_SEED"), [4096, 512, 1 << 20] as [UInt64])
  func agreesWithANaiveSet(seed: UInt64, unit: UInt64) throws {
    var numbers = SeededNumbers(seed)
    for round in 0..<(Self.stepCount / 4000) { try runRound(round, unit, seed, &numbers) }
  }

  private func runRound(_ round: Int, _ unit: UInt64, _ seed: UInt64, _ numbers: inout SeededNumbers) throws {
    let hole = 100..<(100 + Int.random(in: 1...10, using: &numbers))
    var model = Model(unit: unit, hole: hole)
    var allocator = IOVAAllocator(
      allowed: [model.range(90..<Model.count), model.range(0..<60), model.range(60..<95)],
      reserved: [model.range(hole)])
    try #require(allocator.allowed == model.ranges(where: model.isAllowed))

    for step in 0..<4000 {
      let comment: Comment = "seed \(seed), round \(round), step \(step)"
      switch UInt8.random(in: 0..<32, using: &numbers) {
      case 0..<14: try allocate(&allocator, &model, &numbers, comment)
      case 14..<17: try reserve(&allocator, &model, &numbers, comment)
      case 17 where UInt8.random(in: 0..<64, using: &numbers) == 0: narrow(&allocator, &model, &numbers)
      case 17:
        // Something near what is held is not what is held.
        let start = Int.random(in: 0..<(Model.count - 1), using: &numbers)
        let places = start..<Int.random(in: (start + 1)..<Model.count, using: &numbers)
        guard !model.held.contains(places) else { continue }
        let failure = Self.failure { () throws(IOVAAllocator.Failure) in
          try allocator.deallocate(model.range(places))
        }
        try #require(failure == .notAllocated, comment)
      case 18 where step % 8 == 0:
        allocator.collect()
        try #require(allocator.freeRanges == model.ranges(where: model.isFree), comment)
      default:
        guard !model.held.isEmpty else { continue }
        let places = model.giveBack(at: Int.random(in: 0..<model.held.count, using: &numbers))
        try allocator.deallocate(model.range(places))
        let failure = Self.failure { () throws(IOVAAllocator.Failure) in
          try allocator.deallocate(model.range(places))
        }
        try #require(failure == .notAllocated, comment)
      }
    }
    // All given back: what is allowed is free, in as few pieces as that has.
    while !model.held.isEmpty {
      let places = model.giveBack(at: Int.random(in: 0..<model.held.count, using: &numbers))
      try allocator.deallocate(model.range(places))
    }
    allocator.collect()
    try #require(allocator.freeRanges == allocator.allowed, "seed \(seed), round \(round)")
    try #require(allocator.allowed == model.ranges(where: model.isAllowed), "seed \(seed), round \(round)")
  }

  private func allocate(
    _ allocator: inout IOVAAllocator, _ model: inout Model, _ numbers: inout SeededNumbers, _ comment: Comment
  ) throws {
    let alignment = 1 << Int.random(in: 0...4, using: &numbers)
    let length = Int.random(in: 1...12, using: &numbers)
    let limit = Int.random(in: 0..<Model.count, using: &numbers)
    // Without magazines it is the lowest place; with them, any that is free.
    let isLowest = UInt8.random(in: 0..<8, using: &numbers) == 0
    if isLowest { allocator.collect() }
    var got: IOVARange?
    let failure = Self.failure { () throws(IOVAAllocator.Failure) in
      got = try allocator.allocate(
        byteCount: UInt64(length) * model.unit, alignment: UInt64(alignment) * model.unit,
        upTo: IOVA(UInt64(limit + 1) * model.unit - 1))
    }
    guard let lowest = model.lowest(length, alignment, upTo: limit) else {
      try #require(failure == .exhausted, comment)
      return
    }
    let range = try #require(got, comment)
    let places = model.places(range)
    try #require(range == model.range(places) && places.count == length, comment)
    try #require(places.lowerBound > 0 && places.lowerBound % alignment == 0, comment)
    try #require(places.upperBound <= limit + 1 && model.fits(places), comment)
    if isLowest { try #require(places.lowerBound == lowest, comment) }
    model.take(places)
  }

  private func reserve(
    _ allocator: inout IOVAAllocator, _ model: inout Model, _ numbers: inout SeededNumbers, _ comment: Comment
  ) throws {
    let length = Int.random(in: 1...12, using: &numbers)
    let start = Int.random(in: 0..<(Model.count - length), using: &numbers)
    let places = start..<(start + length)
    let failure = Self.failure { () throws(IOVAAllocator.Failure) in
      try allocator.reserve(model.range(places))
    }
    let isAllowed = places.allSatisfy { model.isAllowed[$0] }
    try #require(failure == (isAllowed ? (model.fits(places) ? nil : .taken) : .notAllowed), comment)
    if failure == nil { model.take(places) }
  }

  private func narrow(
    _ allocator: inout IOVAAllocator, _ model: inout Model, _ numbers: inout SeededNumbers
  ) {
    let start = Int.random(in: 1..<(Model.count - 8), using: &numbers)
    for place in start..<(start + Int.random(in: 1...8, using: &numbers)) {
      (model.isAllowed[place], model.isFree[place]) = (false, false)
    }
    allocator.narrow(to: model.ranges(where: model.isAllowed).shuffled(using: &numbers))
  }

  static func failure(_ body: () throws(IOVAAllocator.Failure) -> Void) -> IOVAAllocator.Failure? {
    do throws(IOVAAllocator.Failure) {
      try body()
      return nil
    } catch {
      return error
    }
  }
}
