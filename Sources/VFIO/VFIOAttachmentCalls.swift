// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import DMACore
internal import IOMMUFD
internal import LinuxHandles
internal import Synchronization

/// Attaches a device of VFIO, and PASIDs of it, by the device's descriptor.
///
/// The device's handle holds the page table that the device itself is attached to, because it is attached for as long as
/// the descriptor is open, whoever holds it.
final class VFIOAttachmentCalls: IOMMUFDAttachmentCalls {
  private let handle: VFIODeviceHandle
  private let subject: String

  init(of handle: VFIODeviceHandle, subject: String) {
    self.handle = handle
    self.subject = subject
  }

  func attach(
    to target: IOMMUFDObjectID, keeping: any AnyObject & Sendable, pasid: PASID?, isReplacing: Bool
  ) throws(KernelError) -> IOMMUFDObjectID {
    // VFIO replaces what is attached by the same call.
    var command = abi_vfio_device_attach_iommufd_pt()
    command.pt_id = target.rawValue
    if let pasid {
      command.flags = ABI_VFIO_DEVICE_ATTACH_PASID
      command.pasid = pasid.rawValue
    }
    let place = pasid.map { "\(subject), PASID \($0)" } ?? subject
    try handle.call("VFIO_DEVICE_ATTACH_IOMMUFD_PT", on: "\(place), object \(target)") { fd in
      unsafe abi_vfio_device_attach_iommufd_pt(fd, &command)
    }
    if pasid == nil { hold(keeping) }
    return IOMMUFDObjectID(command.pt_id)
  }

  func detach(pasid: PASID?) throws(KernelError) {
    try handle.detach(pasid: pasid, on: subject)
    if pasid == nil { hold(nil) }
  }

  /// The one before goes after the lock.
  private func hold(_ table: (any AnyObject & Sendable)?) {
    let before = handle.attachedTable.withLock { held in
      defer { held = table }
      return held
    }
    _ = consume before
  }
}
