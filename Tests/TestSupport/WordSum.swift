// SPDX-License-Identifier: Apache-2.0
internal import CTestSupport

/// A sum of 64-bit words that notices when two of them change places.
public struct WordSum: Hashable, Sendable {
  private var value: UInt64 = 0xcbf2_9ce4_8422_2325

  /// The sum of nothing.
  public init() {}

  /// Adds whole words.
  @unsafe
  public mutating func add(_ bytes: UnsafeRawBufferPointer) {
    let words = unsafe bytes.bindMemory(to: UInt64.self)
    value = unsafe ctest_add_words(words.baseAddress, UInt64(words.count), value)
  }

  /// Fills memory with words that look random, and takes the seed on.
  @unsafe
  public static func fill(_ bytes: UnsafeMutableRawBufferPointer, seed: inout UInt64) {
    let words = unsafe bytes.bindMemory(to: UInt64.self)
    unsafe ctest_fill_words(words.baseAddress, UInt64(words.count), &seed)
  }
}
