// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import SystemPackage

extension IOAS {
  /// Which addresses may be used at this moment: devices that join forbid some, and give them back when they leave.
  /// - Throws: `KernelError` for `IOMMU_IOAS_IOVA_RANGES`.
  public func usableAddresses() throws(KernelError) -> UsableAddresses {
    try Self.usableAddresses(of: id, in: context)
  }

  /// Asks the kernel anew which addresses may be used: each attached device may forbid some.
  /// - Throws: `KernelError` for `IOMMU_IOAS_IOVA_RANGES`.
  public func refreshAllowedRanges() throws(KernelError) {
    reservations.narrow(to: try usableAddresses().ranges)
  }

  /// Keeps ranges usable: no device may join that would forbid an address of them.
  ///
  /// Where the kernel chooses an address, it then chooses inside. What the library chooses is not bound by it.
  /// - Parameter ranges: All of them, anew: what was allowed before and is not of them is so no more. Empty for none.
  ///   Of two bytes at least, and not overlapping.
  /// - Throws: `KernelError` for `IOMMU_IOAS_ALLOW_IOVAS`: `EADDRINUSE` where a device forbids an address of them
  ///   already, `EINVAL` for a range that is too short or overlaps. Nothing changes then.
  /// - Source: `struct iommu_ioas_allow_iovas`, include/uapi/linux/iommufd.h, Linux 6.2.
  public func allow(_ ranges: [IOVARange]) throws(KernelError) {
    let raw = ranges.map { abi_iommu_iova_range(start: $0.start.rawValue, last: $0.last.rawValue) }
    let (fd, id) = (context.descriptor, id)
    try kernelCall("IOMMU_IOAS_ALLOW_IOVAS", on: "\(label), \(ranges.count) ranges") {
      unsafe abi_iommu_ioas_allow_iovas(fd, id.rawValue, raw, UInt32(raw.count))
    }
  }

  static func usableAddresses(
    of id: IOMMUFDObjectID, in context: IOMMUFDContext
  ) throws(KernelError) -> UsableAddresses {
    let fd = context.descriptor
    var capacity = 16
    while true {
      var ranges = [abi_iommu_iova_range](repeating: .init(), count: capacity)
      var command = abi_iommu_ioas_iova_ranges()
      command.ioas_id = id.rawValue
      let result = try kernelCall("IOMMU_IOAS_IOVA_RANGES", on: "IOAS \(id)") {
        let result = unsafe abi_iommu_ioas_iova_ranges(fd, &command, &ranges, UInt32(capacity))
        // EMSGSIZE tells how many there are, which is an answer.
        return result == -Errno.messageTooLong.rawValue ? 1 : result
      }
      if result == 0 {
        return UsableAddresses(
          ranges: ranges.prefix(Int(command.num_iovas)).map {
            IOVARange(start: IOVA($0.start), last: IOVA($0.last))
          }, alignment: Int(command.out_iova_alignment))
      }
      capacity = max(Int(command.num_iovas), capacity * 2)
    }
  }
}
