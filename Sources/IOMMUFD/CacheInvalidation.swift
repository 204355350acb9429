// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles

/// What of the IOMMU's caches is to be forgotten, after a user's tables changed: a batch, in order.
public struct CacheInvalidation: Hashable, Sendable {
  /// The kernel's number of the layout.
  public let type: UInt32
  /// The length of one request, in bytes.
  public let entryByteCount: Int
  /// The requests, one after the other.
  public let bytes: [UInt8]

  /// How many requests there are.
  public var count: Int { entryByteCount == 0 ? 0 : bytes.count / entryByteCount }

  /// Requests of a layout that this version has no case for.
  ///
  /// None at all asks whether the kernel knows the layout.
  public init(type: UInt32, entryByteCount: Int, bytes: [UInt8]) {
    precondition(
      entryByteCount == 0 ? bytes.isEmpty : bytes.count % entryByteCount == 0, "whole requests")
    self.type = type
    self.entryByteCount = entryByteCount
    self.bytes = bytes
  }

  private init<Layout: BitwiseCopyable>(type: UInt32, _ entries: [Layout]) {
    self.init(
      type: type, entryByteCount: MemoryLayout<Layout>.size, bytes: entries.flatMap { layoutBytes(of: $0) })
  }

  /// Addresses of a first stage of VT-d.
  public struct IntelVTdRange: Hashable, Sendable {
    /// The first address, at a multiple of 4 KiB.
    public let start: UInt64
    /// How many pages of 4 KiB.
    public let pageCount: UInt64
    /// Whether only the last level is forgotten, and not the tables above it.
    public let isLeafOnly: Bool

    /// Names addresses.
    public init(start: UInt64, pageCount: UInt64, isLeafOnly: Bool = false) {
      self.start = start
      self.pageCount = pageCount
      self.isLeafOnly = isLeafOnly
    }

    /// All that is cached of the table.
    public static let all = IntelVTdRange(start: 0, pageCount: .max)
  }

  /// Of a nested page table of Intel VT-d.
  /// - Source: `struct iommu_hwpt_vtd_s1_invalidate`, include/uapi/linux/iommufd.h, Linux 6.8.
  public static func intelVTd(_ ranges: [IntelVTdRange]) -> CacheInvalidation {
    CacheInvalidation(
      type: ABI_IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
      ranges.map { range in
        abi_iommu_hwpt_vtd_s1_invalidate(
          addr: range.start, npages: range.pageCount,
          flags: range.isLeafOnly ? ABI_IOMMU_VTD_INV_FLAGS_LEAF : 0, reserved: 0)
      })
  }

  /// Of a virtual IOMMU of Arm's SMMUv3.
  /// - Parameter commands: Of its command queue, two double words each.
  /// - Source: `struct iommu_viommu_arm_smmuv3_invalidate`, include/uapi/linux/iommufd.h, Linux 6.13.
  public static func armSMMUv3(_ commands: [(UInt64, UInt64)]) -> CacheInvalidation {
    CacheInvalidation(
      type: ABI_IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
      commands.map { command in
        abi_iommu_viommu_arm_smmuv3_invalidate(cmd: (command.0.littleEndian, command.1.littleEndian))
      })
  }

  func run(on object: OwnedObject) -> BatchOutcome {
    var command = abi_iommu_hwpt_invalidate()
    do throws(KernelError) {
      try object.use("IOMMU_HWPT_INVALIDATE") { id throws(KernelError) in
        command.hwpt_id = id
        command.data_type = type
        command.entry_len = UInt32(entryByteCount)
        command.entry_num = UInt32(count)
        let fd = object.context.descriptor
        do throws(KernelError) {
          try kernelCall("IOMMU_HWPT_INVALIDATE", on: "\(object.subject), \(count) requests") {
            unsafe abi_iommu_hwpt_invalidate(fd, &command, bytes)
          }
        } catch {
          // The count comes back with an error too, unless the kernel did not get so far: then it is as it was.
          if command.entry_num == UInt32(count) { command.entry_num = 0 }
          throw error.advisingOnIOMMUFD(since: "6.8")
        }
      }
      return BatchOutcome(handledCount: Int(command.entry_num), failure: nil)
    } catch {
      return BatchOutcome(handledCount: Int(command.entry_num), failure: error)
    }
  }
}

/// How far the kernel got with a batch of requests, which it handles in order.
public struct BatchOutcome: Hashable, Sendable {
  /// How many were handled, from the first on.
  public let handledCount: Int
  /// Why the next one was not; nil where all were.
  public let failure: KernelError?

  package init(handledCount: Int, failure: KernelError?) {
    self.handledCount = handledCount
    self.failure = failure
  }

  /// Checks that all were handled.
  /// - Throws: ``failure``.
  public func requireAll() throws(KernelError) {
    if let failure { throw failure }
  }
}

extension HWPageTable {
  /// Forgets what the IOMMU cached of this table, which is nested.
  /// - Returns: How many requests were handled, and why not all: `KernelError` for `IOMMU_HWPT_INVALIDATE`: `EINVAL` for a
  ///   table that is not nested, another vendor's layout, or a request that is wrong; `EOPNOTSUPP` for unknown flags;
  ///   `ENOENT` for a closed table.
  /// - Source: `struct iommu_hwpt_invalidate`, include/uapi/linux/iommufd.h, Linux 6.8.
  public func invalidate(_ batch: CacheInvalidation) -> BatchOutcome { batch.run(on: object) }
}

extension VIOMMU {
  /// Forgets what the IOMMU and the devices of this virtual one cached.
  /// - Returns: As ``HWPageTable/invalidate(_:)``; `EINVAL` also for a device that is none of its own.
  /// - Source: `struct iommu_hwpt_invalidate`, include/uapi/linux/iommufd.h, Linux 6.13.
  public func invalidate(_ batch: CacheInvalidation) -> BatchOutcome { batch.run(on: object) }
}
