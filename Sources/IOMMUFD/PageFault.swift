// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore

/// A device's request for a page that is not there, as its IOMMU tells it.
/// - Source: `struct iommu_hwpt_pgfault`, include/uapi/linux/iommufd.h, Linux 6.11; PCI Express Base Specification, "Page
///   Request".
public struct PageFault: Hashable, Sendable {
  /// What the device wants to do with the page.
  public struct Access: OptionSet, Hashable, Sendable {
    /// The kernel's bits.
    public let rawValue: UInt32
    /// Creates a set from the kernel's bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Read it.
    public static let read = Access(rawValue: ABI_IOMMU_PGFAULT_PERM_READ)
    /// Write it.
    public static let write = Access(rawValue: ABI_IOMMU_PGFAULT_PERM_WRITE)
    /// Execute it.
    public static let execute = Access(rawValue: ABI_IOMMU_PGFAULT_PERM_EXEC)
    /// With privileges.
    public static let privileged = Access(rawValue: ABI_IOMMU_PGFAULT_PERM_PRIV)
  }

  /// The bound device.
  public let device: IOMMUFDObjectID
  /// The PASID of the request; nil for one without.
  public let pasid: PASID?
  /// The device's number of the group of requests.
  public let groupIndex: UInt32
  /// What it wants to do.
  public let access: Access
  /// The page.
  public let address: IOVA
  /// How many bytes the device means to use, as a hint; 0 for none.
  public let expectedByteCount: Int
  /// Whether it is the last of its group.
  public let isLast: Bool
}

/// Requests that belong together: all are answered by one ``PageFaultResponse``.
public struct PageFaultGroup: Hashable, Sendable {
  /// The requests; one at least.
  public let faults: [PageFault]
  /// The kernel's number of the group, which an answer names.
  ///
  /// It is used again once the group is answered.
  public let cookie: UInt32

  /// The answer to these requests.
  public func response(_ outcome: PageFaultResponse.Outcome) -> PageFaultResponse {
    PageFaultResponse(cookie: cookie, outcome: outcome)
  }

  static let faultByteCount = MemoryLayout<abi_iommu_hwpt_pgfault>.size

  /// Groups from what was read: whole faults, and whole groups.
  package static func groups(in bytes: ArraySlice<UInt8>) -> [PageFaultGroup] {
    var groups: [PageFaultGroup] = []
    var start = bytes.startIndex
    while start + faultByteCount <= bytes.endIndex {
      let raw = unsafe bytes.withUnsafeBytes {
        // SAFETY: the slice holds a whole record from there on; every bit pattern is one.
        unsafe $0.loadUnaligned(fromByteOffset: start - bytes.startIndex, as: abi_iommu_hwpt_pgfault.self)
      }
      start += faultByteCount
      // No two groups that are read and unanswered have one cookie.
      let before = groups.last?.cookie == raw.cookie ? groups.removeLast().faults : []
      groups.append(PageFaultGroup(faults: before + [PageFault(raw)], cookie: raw.cookie))
    }
    return groups
  }
}

extension PageFault {
  fileprivate init(_ raw: abi_iommu_hwpt_pgfault) {
    device = IOMMUFDObjectID(raw.dev_id)
    pasid = raw.flags & ABI_IOMMU_PGFAULT_FLAGS_PASID_VALID != 0 ? PASID(raw.pasid) : nil
    groupIndex = raw.grpid
    access = Access(rawValue: raw.perm)
    address = IOVA(raw.addr)
    expectedByteCount = Int(raw.length)
    isLast = raw.flags & ABI_IOMMU_PGFAULT_FLAGS_LAST_PAGE != 0
  }
}

/// The answer to a group of page faults.
public struct PageFaultResponse: Hashable, Sendable {
  /// What became of the requests.
  public enum Outcome: UInt32, Hashable, Sendable {
    /// The pages are there: the device tries again.
    case handled = 0
    /// They cannot be had: the device does not try again.
    case refused = 1
  }

  /// The group's number.
  public let cookie: UInt32
  /// What became of them.
  public let outcome: Outcome

  /// Answers a group by its number.
  public init(cookie: UInt32, outcome: Outcome) {
    self.cookie = cookie
    self.outcome = outcome
  }
}
