// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import LinuxHandles
internal import Synchronization

/// One PASID of a device that is attached to a page table; detached when this value goes.
///
/// It keeps the device bound, and the table alive.
public struct PASIDAttachment: ~Copyable, Sendable {
  /// Which PASID.
  public let pasid: PASID
  private let attached: Attached

  /// The fact that it is attached: ended exactly once.
  private final class Attached: Sendable {
    let device: IOMMUFDDevice
    let pasid: PASID
    /// Of a lease, which must not be handed out anew before the end.
    private let use: PASIDUse?
    private let isOver = Atomic<Bool>(false)

    init(_ pasid: PASID, of device: IOMMUFDDevice, using use: PASIDUse?) {
      self.pasid = pasid
      self.device = device
      self.use = use
    }

    func end() throws(KernelError) {
      guard !isOver.exchange(true, ordering: .acquiringAndReleasing) else { return }
      do throws(KernelError) {
        try device.setPASID(pasid, to: nil) { _ in }
      } catch {
        // Perhaps it is attached still: nobody gets this PASID any more.
        _ = unsafe use.map { unsafe Unmanaged.passRetained($0) }
        throw error
      }
    }

    deinit { _ = try? end() }
  }

  init(_ pasid: PASID, of device: IOMMUFDDevice, using use: PASIDUse?) {
    self.pasid = pasid
    attached = Attached(pasid, of: device, using: use)
  }

  /// The device.
  public var device: IOMMUFDDevice { attached.device }

  /// Attaches the PASID to another page table, without a moment between the two.
  /// - Throws: `KernelError` as ``IOMMUFDDevice/attach(_:to:)``; the old table then stays.
  public borrowing func replace(with table: HWPageTable) throws(KernelError) {
    precondition(table.context === device.context, "a device and its page table live in one context")
    try device.checkCompatibility(of: table, for: pasid)
    try device.setPASID(pasid, to: table) { _ in }
  }

  /// Detaches it: transfers with this PASID are blocked.
  /// - Throws: `KernelError` for the detachment.
  public consuming func detach() throws(KernelError) { try attached.end() }
}
