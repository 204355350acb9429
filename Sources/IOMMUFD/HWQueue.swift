// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles

/// A queue in the memory of a virtual machine that the IOMMU's hardware reads by itself.
///
/// While it lives its memory cannot be unmapped from the address space (`EBUSY`).
/// - Source: `struct iommu_hw_queue_alloc`, include/uapi/linux/iommufd.h, Linux 6.17.
public final class HWQueue: Sendable {
  /// A vendor's kind of queue.
  public struct Model: Hashable, Sendable {
    /// The kernel's number.
    public let rawValue: UInt32
    /// Names a kind by the kernel's number.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// A command queue of NVIDIA's Tegra241 CMDQV: made from index 0 upwards, a power of two long and aligned to it.
    public static let tegra241CMDQV = Model(rawValue: ABI_IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV)
  }

  let object: OwnedObject
  /// The virtual IOMMU.
  public let viommu: VIOMMU
  private let predecessor: HWQueue?
  /// Its index among the queues of its kind.
  public let index: Int
  /// Its memory, in the address space of the virtual IOMMU's parent.
  public let memory: IOVARange

  /// Makes a queue.
  /// - Parameters:
  ///   - memory: Mapped, and in one piece of physical memory.
  ///   - predecessor: The queue of the index before, where the hardware wants them in order: it then lives longer.
  /// - Throws: `KernelError` for `IOMMU_HW_QUEUE_ALLOC`: `EOPNOTSUPP` for a kind that the IOMMU does not have, `ENOENT` for memory
  ///   that is not mapped, `EFAULT` for memory in pieces, `EINVAL` or `EIO` for an index that cannot be, or not yet,
  ///   `EEXIST` for one that is taken.
  public init(
    in viommu: VIOMMU, _ model: Model, index: Int, memory: IOVARange, after predecessor: HWQueue? = nil
  ) throws(KernelError) {
    object = try viommu.object.use("IOMMU_HW_QUEUE_ALLOC") { id throws(KernelError) in
      var command = abi_iommu_hw_queue_alloc()
      command.viommu_id = id
      command.type = model.rawValue
      command.index = UInt32(clamping: index)
      command.nesting_parent_iova = memory.start.rawValue
      command.length = memory.byteCountMinusOne &+ 1
      let fd = viommu.context.descriptor
      try iommufdCall(
        "IOMMU_HW_QUEUE_ALLOC", since: "6.17", on: "\(viommu.object.subject), queue \(index) at \(memory)"
      ) {
        unsafe abi_iommu_hw_queue_alloc(fd, &command)
      }
      var uses = [IOMMUFDObject.Use(id: IOMMUFDObjectID(id), role: "in")]
      if let predecessor { uses.append(.init(id: predecessor.id, role: "after")) }
      return OwnedObject(
        IOMMUFDObjectID(command.out_hw_queue_id), .hwQueue, "index \(index)", uses: uses, in: viommu.context)
    }
    self.viommu = viommu
    self.predecessor = predecessor
    self.index = index
    self.memory = memory
  }

  /// Its number.
  public var id: IOMMUFDObjectID { object.id }

  /// Destroys it, instead of when the last holder lets go.
  /// - Throws: `KernelError` for `IOMMU_DESTROY`: `EBUSY` while queues that come after it live, and it lives on; `ENOENT`
  ///   where it is closed already.
  public func close() throws(KernelError) { try object.destroy() }

  // Before its predecessor and its virtual IOMMU, whose destruction would be refused.
  deinit { object.release() }
}
