// SPDX-License-Identifier: Apache-2.0
import DMACore
import IOMMUFD
import LinuxHandles
import Synchronization
import SystemPackage

extension MockDevice {
  /// The device as the library sees any that is bound; holds this one.
  func bound(to ioas: IOAS) -> IOMMUFDDevice {
    IOMMUFDDevice(
      deviceID, label: "mock \(id)", attachedTo: ioas, automatic: pageTable,
      calls: MockAttachmentCalls(of: self))
  }
}

/// Attaches a mock device, by the kernel's test interface.
final class MockAttachmentCalls: IOMMUFDAttachmentCalls {
  // Goes first, and detaches.
  private let device: MockDevice
  private let held = Mutex<(any AnyObject & Sendable)?>(nil)

  init(of device: MockDevice) { self.device = device }

  func attach(
    to target: IOMMUFDObjectID, keeping: any AnyObject & Sendable, pasid: PASID?, isReplacing: Bool
  ) throws(KernelError) -> IOMMUFDObjectID {
    guard let pasid else {
      let table = try device.replace(with: target)
      held.withLock { $0 = keeping }
      return table
    }
    if isReplacing {
      try device.replacePASID(pasid.rawValue, with: target)
    } else {
      try device.attachPASID(pasid.rawValue, to: target)
    }
    return target
  }

  func detach(pasid: PASID?) throws(KernelError) {
    guard let pasid else {
      throw KernelError(
        operation: "detach", errno: .notSupported, subject: "a mock device is always attached")
    }
    try device.detachPASID(pasid.rawValue)
  }
}
