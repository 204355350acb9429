// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles

/// A bound device as a virtual machine names it to its virtual IOMMU.
///
/// It keeps the device bound: the kernel would otherwise destroy it with the device, and its number would be lost until the
/// context closes.
/// - Source: `struct iommu_vdevice_alloc`, include/uapi/linux/iommufd.h, Linux 6.13.
public final class VDevice: Sendable {
  let object: OwnedObject
  /// The virtual IOMMU.
  public let viommu: VIOMMU
  /// The bound device.
  public let device: IOMMUFDDevice
  /// Its number in the virtual machine: a stream of SMMUv3, a device of AMD's IOMMU, a requester of VT-d.
  public let virtualID: UInt64

  /// Names a device.
  /// - Throws: `KernelError` for `IOMMU_VDEVICE_ALLOC`: `EEXIST` for a device that has a name already, or a number that is
  ///   taken; `EINVAL` for a device behind another IOMMU; `ENOENT` for one that is gone.
  public init(_ device: IOMMUFDDevice, in viommu: VIOMMU, virtualID: UInt64) throws(KernelError) {
    precondition(viommu.context === device.context, "a virtual IOMMU and a device live in one context")
    object = try viommu.object.use("IOMMU_VDEVICE_ALLOC") { id throws(KernelError) in
      var command = abi_iommu_vdevice_alloc()
      command.viommu_id = id
      command.dev_id = device.id.rawValue
      command.virt_id = virtualID
      let fd = device.context.descriptor
      try iommufdCall(
        "IOMMU_VDEVICE_ALLOC", since: "6.13", on: "device \(device.label), \(viommu.object.subject)"
      ) {
        unsafe abi_iommu_vdevice_alloc(fd, &command)
      }
      return OwnedObject(
        IOMMUFDObjectID(command.out_vdevice_id), .vdevice, "0x" + String(virtualID, radix: 16),
        uses: [
          .init(id: IOMMUFDObjectID(id), role: "in"), .init(id: device.id, role: "stands for"),
        ], in: device.context)
    }
    self.viommu = viommu
    self.device = device
    self.virtualID = virtualID
  }

  /// Its number in the context.
  public var id: IOMMUFDObjectID { object.id }

  /// Takes the name away, instead of when the last holder lets go.
  /// - Throws: `KernelError` for `IOMMU_DESTROY`: `ENOENT` where it is closed already, or went with its device.
  public func close() throws(KernelError) { try object.destroy() }

  // Before the device is unbound and the virtual IOMMU goes.
  deinit { object.release() }
}
