// SPDX-License-Identifier: Apache-2.0

/// A fixed number of plain values of the queue's own, which the other side never sees.
///
/// Not an array: it costs no uniqueness checks, and its owner has proven each index.
@safe @frozen @usableFromInline
struct QueueTable<Element: BitwiseCopyable>: ~Copyable, @unchecked Sendable {
  @usableFromInline let base: UnsafeMutablePointer<Element>

  init(repeating element: Element, count: Int) {
    unsafe base = .allocate(capacity: count)
    unsafe base.initialize(repeating: element, count: count)
  }

  @usableFromInline
  deinit { unsafe base.deallocate() }

  /// - Parameter index: Below the count; not checked, since its owner has compared it with the size of the ring.
  @inlinable
  subscript(index: UInt32) -> Element {
    // SAFETY: the index is within the table, as the owner of the table has checked.
    @inline(__always) get { unsafe base[Int(truncatingIfNeeded: index)] }
    @inline(__always) nonmutating set { unsafe base[Int(truncatingIfNeeded: index)] = newValue }
  }
}
