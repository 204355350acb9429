// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// A PASID that is out: back in its allocator when the last of its lease and its attachments goes.
final class PASIDRecord: Sendable {
  let pasid: PASID
  private let allocator: PASIDAllocator
  private let state = Mutex(State())
  private struct State {
    var attachmentCount = 0
    var isFree = false
  }

  init(_ pasid: PASID, of allocator: PASIDAllocator) {
    self.pasid = pasid
    self.allocator = allocator
  }

  func attached() { state.withLock { $0.attachmentCount += 1 } }
  func detached() { state.withLock { $0.attachmentCount -= 1 } }

  func free() throws(KernelError) {
    let count = state.withLock { state in
      if state.attachmentCount == 0 { state.isFree = true }
      return state.attachmentCount
    }
    guard count == 0 else {
      throw KernelError(
        operation: "free PASID", errno: .resourceBusy, subject: "PASID \(pasid)",
        remedy: "it is attached \(count) times; it is freed with the last of its attachments")
    }
    do throws(KernelError) {
      try allocator.giveBack(pasid)
    } catch {
      state.withLock { $0.isFree = false }
      throw error
    }
  }

  deinit {
    // A failure leaves it out, where nobody gets it.
    if !state.withLock({ $0.isFree }) { _ = try? allocator.giveBack(pasid) }
  }
}
