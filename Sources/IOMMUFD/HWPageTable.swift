// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

/// A page table of the IOMMU: what one or more devices, or PASIDs of them, are attached to.
///
/// Of an address space it has all of its mappings; nested, it is the first of two stages: a table in the memory of a
/// virtual machine, whose addresses another table translates further. It holds what it depends on and destroys its
/// object when the last holder lets go.
/// - Source: `struct iommu_hwpt_alloc`, include/uapi/linux/iommufd.h, Linux 6.6.
public final class HWPageTable: Sendable {
  /// What a page table is asked to be able to do.
  public struct Options: OptionSet, Hashable, Sendable {
    /// The kernel's flags.
    public let rawValue: UInt32
    /// Creates options from the kernel's flags.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Other tables may be nested in it; not together with a fault queue.
    public static let nestParent = Options(rawValue: ABI_IOMMU_HWPT_ALLOC_NEST_PARENT)
    /// It tracks what devices write; devices that cannot are not attached to it.
    public static let dirtyTracking = Options(rawValue: ABI_IOMMU_HWPT_ALLOC_DIRTY_TRACKING)
    /// PASIDs, and devices with PASIDs, can be attached to it.
    public static let pasid = Options(rawValue: ABI_IOMMU_HWPT_ALLOC_PASID)
  }

  /// Where its translations come from.
  public enum Kind: Sendable {
    /// The mappings of an address space.
    case paging(IOAS)
    /// A user's table whose addresses the parent translates.
    case nested(HWPageTable)
    /// The same by way of a virtual IOMMU.
    case nestedInVIOMMU(VIOMMU)
  }

  /// Where its translations come from.
  public let kind: Kind
  /// What it was asked to be able to do.
  public let options: Options
  /// Where faults in it are told; nil where they end a transfer.
  public let faults: FaultQueue?
  let object: OwnedObject

  /// Makes a page table with the mappings of an address space.
  /// - Parameters:
  ///   - device: Whose IOMMU it is for; it is not attached.
  ///   - faults: Where faults in it are told; its devices must be able to wait for an answer.
  ///   - data: What the vendor's driver wants to know; nil for none.
  /// - Throws: `KernelError` for `IOMMU_HWPT_ALLOC`: `EOPNOTSUPP` for options that the IOMMU does not have, or a nest
  ///   parent with faults; `ENOENT` for a device or a queue that is gone.
  public convenience init(
    of ioas: IOAS, for device: IOMMUFDDevice, options: Options = [], faults: FaultQueue? = nil,
    data: HWPageTableData? = nil
  ) throws(KernelError) {
    precondition(ioas.context === device.context, "an address space and a device live in one context")
    try self.init(
      .paging(ioas), ioas.id.rawValue, for: device, options: options, faults: faults, data: data)
  }

  /// Makes a page table that is nested in another one.
  /// - Parameters:
  ///   - parent: Made with the option ``Options/nestParent``.
  ///   - data: The user's table, as the vendor's IOMMU wants to be told.
  ///   - options: None, or ``Options/pasid``.
  /// - Throws: `KernelError` for `IOMMU_HWPT_ALLOC`: `EINVAL` for a parent that is none or data that is too short,
  ///   `EOPNOTSUPP` for other options or another vendor's data; SMMUv3: `EIO` for fields that are not allowed.
  public convenience init(
    nestedIn parent: HWPageTable, for device: IOMMUFDDevice, data: HWPageTableData, options: Options = [],
    faults: FaultQueue? = nil
  ) throws(KernelError) {
    precondition(parent.context === device.context, "a page table and a device live in one context")
    self.init(
      try parent.object.use("IOMMU_HWPT_ALLOC") { id throws(KernelError) in
        try Self.make(.nested(parent), id, for: device, options: options, faults: faults, data: data)
      }, .nested(parent), options: options, faults: faults)
  }

  /// Makes a page table that is nested in the parent of a virtual IOMMU.
  /// - Throws: `KernelError` as ``init(nestedIn:for:data:options:faults:)-(HWPageTable,_,_,_,_)``; `EINVAL` where the device
  ///   is behind another IOMMU.
  public convenience init(
    nestedIn viommu: VIOMMU, for device: IOMMUFDDevice, data: HWPageTableData, options: Options = [],
    faults: FaultQueue? = nil
  ) throws(KernelError) {
    precondition(viommu.context === device.context, "a virtual IOMMU and a device live in one context")
    self.init(
      try viommu.object.use("IOMMU_HWPT_ALLOC") { id throws(KernelError) in
        try Self.make(
          .nestedInVIOMMU(viommu), id, for: device, options: options, faults: faults, data: data)
      }, .nestedInVIOMMU(viommu), options: options, faults: faults)
  }

  private convenience init(
    _ kind: Kind, _ parent: UInt32, for device: IOMMUFDDevice, options: Options, faults: FaultQueue?,
    data: HWPageTableData?
  ) throws(KernelError) {
    self.init(
      try Self.make(kind, parent, for: device, options: options, faults: faults, data: data), kind,
      options: options, faults: faults)
  }

  private init(_ object: OwnedObject, _ kind: Kind, options: Options, faults: FaultQueue?) {
    self.object = object
    self.kind = kind
    self.options = options
    self.faults = faults
  }

  /// The context that it lives in.
  public var context: IOMMUFDContext { object.context }
  /// Its number.
  public var id: IOMMUFDObjectID { object.id }

  /// The address space at its root.
  public var ioas: IOAS {
    switch kind {
    case .paging(let ioas): ioas
    case .nested(let parent): parent.ioas
    case .nestedInVIOMMU(let viommu): viommu.parent.ioas
    }
  }

  /// Destroys the table, instead of when the last holder lets go.
  /// - Throws: `KernelError` for `IOMMU_DESTROY`: `EBUSY` while a device or a PASID is attached to it, or tables are
  ///   nested in it (the remedy names them), and it lives on; `ENOENT` where it is closed already.
  public func close() throws(KernelError) { try object.destroy() }

  // Before its parent, whose destruction would be refused.
  deinit { object.release() }

  private static func make(
    _ kind: Kind, _ parent: UInt32, for device: IOMMUFDDevice, options: Options, faults: FaultQueue?,
    data: HWPageTableData?
  ) throws(KernelError) -> OwnedObject {
    guard let faults else {
      return try make(kind, parent, for: device, options: options, fault: nil, data: data)
    }
    precondition(faults.context === device.context, "a fault queue and a device live in one context")
    return try faults.object.use("IOMMU_HWPT_ALLOC") { id throws(KernelError) in
      try make(kind, parent, for: device, options: options, fault: id, data: data)
    }
  }

  private static func make(
    _ kind: Kind, _ parent: UInt32, for device: IOMMUFDDevice, options: Options, fault: UInt32?,
    data: HWPageTableData?
  ) throws(KernelError) -> OwnedObject {
    var command = abi_iommu_hwpt_alloc()
    command.flags = options.rawValue
    command.dev_id = device.id.rawValue
    command.pt_id = parent
    command.data_type = data?.type ?? ABI_IOMMU_HWPT_DATA_NONE
    if let fault {
      command.flags |= ABI_IOMMU_HWPT_FAULT_ID_VALID
      command.fault_id = fault
    }
    let fd = device.context.descriptor
    let bytes = data?.bytes ?? []
    try iommufdCall("IOMMU_HWPT_ALLOC", since: "6.6", on: "device \(device.label), of object \(parent)") {
      unsafe abi_iommu_hwpt_alloc(fd, &command, bytes, UInt32(bytes.count))
    }
    var uses = [IOMMUFDObject.Use(id: IOMMUFDObjectID(parent), role: kind.role)]
    if let fault { uses.append(.init(id: IOMMUFDObjectID(fault), role: "tells faults to")) }
    return OwnedObject(
      IOMMUFDObjectID(command.out_hwpt_id), .pageTable, options.label(for: kind), uses: uses,
      in: device.context)
  }
}

extension HWPageTable.Kind {
  fileprivate var role: String {
    switch self {
    case .paging: "maps"
    case .nested, .nestedInVIOMMU: "nested in"
    }
  }
}

extension HWPageTable.Options {
  fileprivate func label(for kind: HWPageTable.Kind) -> String {
    var words: [String] = []
    if case .paging = kind { words.append("paging") } else { words.append("nested") }
    if contains(.nestParent) { words.append("nest parent") }
    if contains(.dirtyTracking) { words.append("dirty tracking") }
    if contains(.pasid) { words.append("PASID") }
    return words.joined(separator: ", ")
  }
}
