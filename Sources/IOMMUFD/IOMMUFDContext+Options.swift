// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

extension IOMMUFDContext {
  /// Who is charged for memory that is locked for devices, against RLIMIT_MEMLOCK.
  public enum LockAccounting: Hashable, Sendable {
    /// The user, over all of its processes: how a context starts.
    case user
    /// The process, as a VFIO container does it.
    case process
  }

  /// Who is charged for memory that is mapped in this context; nobody, where who maps has CAP_IPC_LOCK.
  /// - Throws: `KernelError` for `IOMMU_OPTION`.
  /// - Source: `struct iommu_option`, include/uapi/linux/iommufd.h, Linux 6.2.
  public func lockAccounting() throws(KernelError) -> LockAccounting {
    try option(ABI_IOMMU_OPTION_RLIMIT_MODE, of: nil, subject) == 0 ? .user : .process
  }

  /// Sets ``lockAccounting()``, before anything is made in the context.
  /// - Throws: `KernelError` for `IOMMU_OPTION`: `EBUSY` where an object was made, `EPERM` without CAP_SYS_RESOURCE.
  public func setLockAccounting(_ accounting: LockAccounting) throws(KernelError) {
    do throws(KernelError) {
      try setOption(ABI_IOMMU_OPTION_RLIMIT_MODE, of: nil, to: accounting == .process ? 1 : 0, subject)
    } catch {
      switch error.errno {
      case .resourceBusy: throw error.advising("choose before the first address space is made")
      case .notPermitted: throw error.advising("it takes CAP_SYS_RESOURCE: run as root")
      default: throw error
      }
    }
  }

  /// Charges this process for all that is mapped in the context, in the place of the one that mapped it.
  ///
  /// For a process that took the context over from another, whose end would otherwise find memory charged to it.
  /// - Throws: `KernelError` for `IOMMU_IOAS_CHANGE_PROCESS`: `EINVAL` where memory was mapped by its address and not as
  ///   a file, `EBUSY` while another thread maps or unmaps, `ENOMEM` over the limit of locked memory, `ENOTTY` before
  ///   Linux 6.13. Nothing changes then.
  /// - Source: `struct iommu_ioas_change_process`, include/uapi/linux/iommufd.h, Linux 6.13.
  public func adoptMappings() throws(KernelError) {
    let fd = descriptor
    do throws(KernelError) {
      try kernelCall("IOMMU_IOAS_CHANGE_PROCESS", on: subject) { abi_iommu_ioas_change_process(fd) }
    } catch {
      guard error.errno == .invalidArgument else { throw error }
      throw error.advising(
        "memory that is to change hands must be mapped as a file: UnsharedMemory of the kind file, and exposeFile"
      )
    }
  }

  func option(_ option: UInt32, of object: IOMMUFDObjectID?, _ subject: String) throws(KernelError) -> UInt64
  {
    let fd = descriptor
    var value: UInt64 = 0
    try kernelCall("IOMMU_OPTION", on: subject) {
      unsafe abi_iommu_option_get(fd, option, object?.rawValue ?? 0, &value)
    }
    return value
  }

  func setOption(
    _ option: UInt32, of object: IOMMUFDObjectID?, to value: UInt64, _ subject: String
  ) throws(KernelError) {
    let fd = descriptor
    try kernelCall("IOMMU_OPTION", on: subject) {
      abi_iommu_option_set(fd, option, object?.rawValue ?? 0, value)
    }
  }

  /// For messages.
  private var subject: String { "iommufd (fd \(descriptor))" }
}
