// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// Random numbers that can be had again: the same from the same seed, on every machine (splitmix64).
public struct SeededNumbers: RandomNumberGenerator {
  private var state: UInt64

  /// Begins with a seed.
  public init(_ seed: UInt64) { state = seed }

  /// Where random tests begin: one seed that is always the same, and one that is new each time.
  ///
  /// Both are printed. An environment variable of that name asks for one alone: `QUEUE_SEED=7 swift test …` repeats a run.
  public static func seeds(_ variable: String) -> [UInt64] {
    let wanted = unsafe getenv(variable).flatMap { unsafe UInt64(String(cString: $0)) }
    let seeds = wanted.map { [$0] } ?? [1, UInt64.random(in: 2 ... .max)]
    print("random tests: seeds \(seeds); repeat one with \(variable)=\(seeds[seeds.count - 1])")
    return seeds
  }

  /// The next number.
  public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
    return value ^ value >> 31
  }
}
