// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import SystemPackage

extension IOAS {
  /// Where mapped memory lies in physical memory, for devices without an IOMMU.
  ///
  /// The kernel pins what an IOAS maps, so that the answer holds until it is unmapped.
  /// - Parameter range: Mapped as a whole; page aligned.
  /// - Returns: The pieces that lie in one, in the order of the range.
  /// - Throws: `KernelError` for `IOMMU_IOAS_NOIOMMU_GET_PA`: `ENOENT` where nothing is mapped, `EOPNOTSUPP` where
  ///   no device without an IOMMU is attached, `EPERM` without CAP_SYS_RAWIO, `ENOTTY` before Linux 7.3.
  /// - Source: `struct iommu_ioas_noiommu_get_pa`, include/uapi/linux/iommufd.h, Linux 7.3.
  public func physicalRuns(of range: IOVARange) throws(KernelError) -> [PhysicalRun] {
    let fd = context.descriptor
    var runs: [PhysicalRun] = []
    var start = range.start.rawValue
    while true {
      var command = abi_iommu_ioas_noiommu_get_pa()
      command.ioas_id = id.rawValue
      command.iova = start
      // The whole of 64 bits has no length; its last byte is asked for in another round.
      let (length, isWhole) = (range.last.rawValue - start).addingReportingOverflow(1)
      command.length = isWhole ? .max : length
      do throws(KernelError) {
        try kernelCall("IOMMU_IOAS_NOIOMMU_GET_PA", on: "\(label), \(range)") {
          unsafe abi_iommu_ioas_noiommu_get_pa(fd, &command)
        }
      } catch {
        throw error.advising(Self.remedy(for: error.errno))
      }
      guard command.length > 0, command.length - 1 <= range.last.rawValue - start else {
        throw KernelError(
          operation: "IOMMU_IOAS_NOIOMMU_GET_PA", errno: .ioError, subject: "\(label), \(range)",
          remedy: "the kernel told \(command.length) bytes, which cannot be")
      }
      runs.append(PhysicalAddress(command.out_phys), byteCount: Int(clamping: command.length))
      guard command.length - 1 < range.last.rawValue - start else { return runs }
      start += command.length
    }
  }

  private static func remedy(for errno: Errno) -> String? {
    switch errno {
    case .notPermitted: "physical addresses are told to CAP_SYS_RAWIO only: run as root"
    case .inappropriateIOCTLForDevice:
      "the kernel is older than Linux 7.3 or was built without CONFIG_IOMMUFD_NOIOMMU; use --mode noiommu"
    case .notSupported: "only an IOAS with a device that has no IOMMU has physical addresses"
    default: nil
    }
  }
}
