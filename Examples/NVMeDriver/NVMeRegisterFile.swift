// SPDX-License-Identifier: Apache-2.0
internal import DeviceRegisters

/// The window of BAR0, which the controller and all its queues share.
final class NVMeRegisterFile: Sendable {
  let window: RegisterWindow
  let doorbellStride: Int

  init(_ window: consuming RegisterWindow, doorbellStride: Int) {
    self.window = window
    self.doorbellStride = doorbellStride
  }

  private func place(_ id: Int) -> Int { NVMeRegisters.doorbell(ofQueue: id, stride: doorbellStride) }

  /// Where the doorbells of a queue pair are mapped; nil where they are reached by calls.
  func doorbells(ofQueue id: Int) -> NVMeQueueResources.Doorbells? {
    guard let submission = unsafe window.address(at: place(id), byteCount: 4),
      let completion = unsafe window.address(at: place(id) + doorbellStride, byteCount: 4)
    else { return nil }
    return unsafe NVMeQueueResources.Doorbells(submission: submission, completion: completion)
  }

  func ringSubmissions(ofQueue id: Int, _ tail: UInt32) { window.store(tail, at: place(id)) }
  func ringCompletions(ofQueue id: Int, _ head: UInt32) {
    window.store(head, at: place(id) + doorbellStride)
  }

  /// How many queues there are doorbells for, the admin queues among them.
  var queueCount: Int { max(0, (window.byteCount - 0x1000) / (2 * doorbellStride)) }
}
