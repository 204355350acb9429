// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Where random tests begin.
///
/// `QUEUE_SEED=7 swift test …` repeats a run whose seed was printed.
struct QueueSeed: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  /// One that is always the same, and one that is new each time, or the one that the environment asks for.
  static let all: [UInt64] = {
    let wanted = unsafe getenv("QUEUE_SEED").flatMap { unsafe UInt64(String(cString: $0)) }
    let seeds = wanted.map { [$0] } ?? [1, UInt64.random(in: 2 ... .max)]
    print("queue tests: seeds \(seeds); repeat one with QUEUE_SEED=\(seeds[seeds.count - 1])")
    return seeds
  }()

  /// splitmix64: the same numbers from the same seed, on every machine.
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
    return value ^ value >> 31
  }
}
