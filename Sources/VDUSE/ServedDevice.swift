// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles

/// What the threads of a server have in common.
final class ServedDevice: Sendable {
  let device: VDUSEDevice
  let service: any VirtioService
  let log: InFlightLog?
  /// Rung by a queue's thread when it has obeyed.
  let news: EventFD
  let report: @Sendable (String) -> Void
  let ended: @Sendable () -> Void

  init(
    _ device: consuming VDUSEDevice, _ service: any VirtioService, _ log: InFlightLog?,
    _ report: @escaping @Sendable (String) -> Void, _ ended: @escaping @Sendable () -> Void
  ) throws(KernelError) {
    news = try EventFD()
    self.device = device
    self.service = service
    self.log = log
    self.report = report
    self.ended = ended
  }

  func source() -> IOTLB.Source {
    { range, addressSpace throws(KernelError) in
      guard let file = try self.device.entry(overlapping: range, addressSpace: addressSpace) else {
        return nil
      }
      return try IOTLBMapping(file, addressSpace: addressSpace)
    }
  }
}
