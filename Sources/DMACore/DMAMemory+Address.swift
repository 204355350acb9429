// SPDX-License-Identifier: Apache-2.0

extension DMAMemory {
  /// Where the memory lies in this process, for the rings of a hot path that keeps its own bounds.
  ///
  /// Whoever keeps it keeps the memory too. The device may change what it points to at any time: what the device writes
  /// is read by volatile loads, and what it reads is written before a barrier and a doorbell.
  @unsafe @inlinable
  public var address: UnsafeMutableRawPointer { unsafe baseAddress }
}
