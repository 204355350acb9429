// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// One share of some pages: who reaches them.
///
/// Made by ``PageShares/share(_:by:)``, ended by `unshare`.
@safe
public final class PageShareHolder: @unchecked Sendable {
  /// Who it is.
  public let label: String
  /// Which pages, counted from the memory's first.
  public let pages: Range<Int>

  let ledger: ObjectIdentifier
  private let isEnding = Atomic<Bool>(false)
  private let isGone = Atomic<Bool>(false)
  private let isKept = Atomic<Bool>(false)
  /// Written once, before `isKept` is set.
  private weak var keeper: AnyObject?
  /// Written by the thread that pushes it, before others see it; then only under the list's lock.
  fileprivate var next: UnsafeRawPointer?

  init(_ label: String, _ pages: Range<Int>, of ledger: ObjectIdentifier) {
    self.label = label
    self.pages = pages
    self.ledger = ledger
  }

  /// Whether the pages no longer count this share; they do as long as this is false.
  var isOver: Bool { isGone.load(ordering: .acquiring) }

  /// Lets one caller through, who takes the share off the pages and then calls `endDone`.
  func beginEnd() -> Bool { !isEnding.exchange(true, ordering: .acquiringAndReleasing) }

  func endDone() { isGone.store(true, ordering: .releasing) }

  func keep(until keeper: AnyObject) {
    precondition(!isKept.load(ordering: .acquiring), "a share is kept for one object")
    self.keeper = keeper
    isKept.store(true, ordering: .releasing)
  }

  /// Whether its end could not be told to the kernel, and what would have ended it is gone since.
  var hasOutlivedItsKeeper: Bool { isKept.load(ordering: .acquiring) && keeper == nil }
}

/// The shares of some memory, in no order: pushed without a lock, looked at under one.
///
/// A share that is over stays in the list until somebody looks, or until many of them are.
@safe
struct PageShareHolderList: ~Copyable, @unchecked Sendable {
  private let head = unsafe Atomic<UnsafeRawPointer?>(nil)
  private let endedCount = Atomic<Int>(0)
  private let looking = Mutex<Void>(())

  borrowing func push(_ holder: PageShareHolder) {
    unsafe push(raw: UnsafeRawPointer(Unmanaged.passRetained(holder).toOpaque()), holder)
  }

  private borrowing func push(raw: UnsafeRawPointer, _ holder: PageShareHolder) {
    var first = unsafe head.load(ordering: .relaxed)
    while true {
      unsafe holder.next = unsafe first
      let (isDone, seen) = unsafe head.weakCompareExchange(
        expected: first, desired: raw, successOrdering: .releasing, failureOrdering: .relaxed)
      if isDone { return }
      unsafe first = unsafe seen
    }
  }

  /// Notes that a holder is over; now and then the list is cleared of such.
  borrowing func noteEnd() {
    guard endedCount.add(1, ordering: .relaxed).newValue >= 64 else { return }
    _ = looking.withLockIfAvailable { _ in sweep { _ in } }
  }

  /// Looks at each holder that is not over, and lets the others go.
  borrowing func forEach(_ body: (PageShareHolder) -> Void) {
    looking.withLock { _ in sweep(body) }
  }

  private borrowing func sweep(_ body: (PageShareHolder) -> Void) {
    endedCount.store(0, ordering: .relaxed)
    // The whole list at once: only the thread with the lock takes nodes off, so that there is no ABA.
    var node = unsafe head.exchange(nil, ordering: .acquiring)
    while let raw = unsafe node {
      let reference = unsafe Unmanaged<PageShareHolder>.fromOpaque(raw)
      let holder = unsafe reference.takeUnretainedValue()
      unsafe node = unsafe holder.next
      if !holder.isOver { body(holder) }
      if holder.isOver {
        unsafe reference.release()
      } else {
        unsafe push(raw: raw, holder)
      }
    }
  }

  deinit {
    var node = unsafe head.load(ordering: .acquiring)
    while let raw = unsafe node {
      let reference = unsafe Unmanaged<PageShareHolder>.fromOpaque(raw)
      unsafe node = unsafe reference.takeUnretainedValue().next
      unsafe reference.release()
    }
  }
}
