// SPDX-License-Identifier: Apache-2.0
public import DMACore

/// Where the device side of a queue finds the driver's memory.
///
/// The queue asks only for indirect tables; the pieces of a chain it hands out as addresses on the bus. A type that
/// conforms is passed as itself, not as `any`, so that the question is compiled into the walk.
public protocol IOVATranslator: ~Copyable {
  /// Memory of this process that shows what the driver has at an address.
  ///
  /// - Returns: Nil unless all of it is mapped, in one piece, and the device may read it. What is returned stays
  ///   mapped until the call that asked, such as `take`, returns.
  @unsafe
  borrowing func readableBytes(at start: IOVA, byteCount: Int) -> UnsafeRawPointer?
}

/// A translation that knows no address: for a queue without indirect descriptors.
@frozen
public struct NoTranslation: IOVATranslator {
  /// Knows nothing.
  @inlinable
  public init() {}

  /// Nil.
  @inlinable @unsafe
  public func readableBytes(at start: IOVA, byteCount: Int) -> UnsafeRawPointer? { nil }
}
