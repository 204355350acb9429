// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

/// A share of an IOMMU's hardware for one virtual machine.
///
/// It holds its nest parent, and destroys its object when the last holder lets go.
/// - Source: `struct iommu_viommu_alloc`, include/uapi/linux/iommufd.h, Linux 6.13.
public final class VIOMMU: Sendable {
  /// A vendor's kind of virtual IOMMU.
  public struct Model: Hashable, Sendable {
    /// The kernel's number.
    public let rawValue: UInt32
    /// Names a kind by the kernel's number.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Arm SMMUv3.
    public static let armSMMUv3 = Model(rawValue: ABI_IOMMU_VIOMMU_TYPE_ARM_SMMUV3)
    /// SMMUv3 with NVIDIA's Tegra241 CMDQV; its data is ``VIOMMU/tegra241Area``.
    public static let tegra241CMDQV = Model(rawValue: ABI_IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV)
  }

  /// The page table that its nested ones are nested in.
  public let parent: HWPageTable
  /// What kind it is.
  public let model: Model
  /// The vendor's data, with what the kernel wrote into it.
  public let data: [UInt8]
  let object: OwnedObject

  /// Makes a virtual IOMMU.
  /// - Parameters:
  ///   - parent: Made with the option ``HWPageTable/Options/nestParent``.
  ///   - device: Whose IOMMU it is a share of.
  ///   - data: What the vendor's driver reads and writes; ``Model/tegra241CMDQV`` needs none given.
  /// - Throws: `KernelError` for `IOMMU_VIOMMU_ALLOC`: `EOPNOTSUPP` for another kind than the IOMMU's, `EINVAL` for a
  ///   parent that is none, `ENOENT` for a device or a table that is gone.
  public init(
    in parent: HWPageTable, for device: IOMMUFDDevice, _ model: Model, data: [UInt8] = []
  ) throws(KernelError) {
    precondition(parent.context === device.context, "a page table and a device live in one context")
    var data = data
    if model == .tegra241CMDQV, data.isEmpty {
      data = layoutBytes(of: abi_iommu_viommu_tegra241_cmdqv())
    }
    let context = parent.context
    object = try parent.object.use("IOMMU_VIOMMU_ALLOC") { id throws(KernelError) in
      var command = abi_iommu_viommu_alloc()
      command.type = model.rawValue
      command.dev_id = device.id.rawValue
      command.hwpt_id = id
      let (fd, byteCount) = (context.descriptor, UInt32(data.count))
      try iommufdCall("IOMMU_VIOMMU_ALLOC", since: "6.13", on: "device \(device.label), HWPT \(id)") {
        unsafe abi_iommu_viommu_alloc(fd, &command, &data, byteCount)
      }
      return OwnedObject(
        IOMMUFDObjectID(command.out_viommu_id), .viommu,
        uses: [.init(id: IOMMUFDObjectID(id), role: "nests in")], in: context)
    }
    self.parent = parent
    self.model = model
    self.data = data
  }

  /// The context that it lives in.
  public var context: IOMMUFDContext { object.context }
  /// Its number.
  public var id: IOMMUFDObjectID { object.id }

  /// Destroys it, instead of when the last holder lets go.
  /// - Throws: `KernelError` for `IOMMU_DESTROY`: `EBUSY` while page tables, devices, queues or mapped areas of it live, and it
  ///   lives on; `ENOENT` where it is closed already.
  public func close() throws(KernelError) { try object.destroy() }

  // Before its parent, whose destruction would be refused.
  deinit { object.release() }
}

extension VIOMMU {
  /// Where an area of the hardware that a virtual machine may use by itself can be mapped.
  public struct Area: Hashable, Sendable {
    /// The offset in the context's file.
    public let offset: UInt64
    /// The length in bytes.
    public let byteCount: Int

    /// Names an area as the vendor's data tells it.
    public init(offset: UInt64, byteCount: Int) {
      self.offset = offset
      self.byteCount = byteCount
    }
  }

  /// The page of Tegra241's virtual interface; nil for other kinds.
  public var tegra241Area: Area? {
    let byteCount = MemoryLayout<abi_iommu_viommu_tegra241_cmdqv>.size
    guard model == .tegra241CMDQV, data.count >= byteCount else { return nil }
    let told = unsafe data.withUnsafeBytes {
      // SAFETY: so many bytes are there; every bit pattern is one.
      unsafe $0.loadUnaligned(as: abi_iommu_viommu_tegra241_cmdqv.self)
    }
    return Area(offset: told.out_vintf_mmap_offset, byteCount: Int(clamping: told.out_vintf_mmap_length))
  }

  /// Maps an area of the hardware into this process.
  /// - Parameter area: Exactly as the kernel told it.
  /// - Returns: Keeps this alive; ``close()`` is `EBUSY` meanwhile.
  /// - Throws: `KernelError` for `mmap`: `ENXIO` for another offset or length; `ENOENT` once this is closed.
  public func map(_ area: Area) throws(KernelError) -> VIOMMUMapping {
    let memory = try object.use("mmap") { _ throws(KernelError) in
      try context.map(offset: area.offset, byteCount: area.byteCount)
    }
    return VIOMMUMapping(memory, of: self)
  }
}

/// A mapped area of a ``VIOMMU``'s hardware; unmapped when this value goes.
public struct VIOMMUMapping: ~Copyable, Sendable {
  /// The area: device memory, for volatile accesses of aligned words.
  public let memory: MappedMemory
  private let viommu: VIOMMU

  init(_ memory: consuming MappedMemory, of viommu: VIOMMU) {
    self.memory = memory
    self.viommu = viommu
  }
}
