// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles
internal import PCIBus
internal import SystemPackage

/// The kernel's switch for devices without an IOMMU, and what a process must be allowed.
/// - Source: drivers/vfio/vfio_main.c and drivers/vfio/group.c, Linux 4.5.
enum NoIOMMUSwitch {
  private static let path = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"

  static let remedy =
    "no-IOMMU mode is off: it lets a device reach all of physical memory; on a machine whose devices and drivers "
    + "you trust: echo Y > /\(path), then bind the function anew: vfioctl bind BDF"
  static let privilegeRemedy =
    "no-IOMMU mode needs CAP_SYS_RAWIO, and CAP_SYS_ADMIN for physical addresses: run as root"

  /// - Throws: `KernelError` `EOPNOTSUPP` where the kernel has no such mode, `EPERM` where it is off.
  static func check(for address: PCIAddress, on bus: PCIBus) throws(KernelError) {
    let file = bus.root.path(path)
    let text: String
    do throws(KernelError) {
      text = try TextFile.contents(of: file)
    } catch {
      guard error.errno == .noSuchFileOrDirectory else { throw error }
      throw KernelError(
        operation: "open", errno: .notSupported, subject: "\(address) in no-IOMMU mode",
        remedy: "the kernel has no no-IOMMU mode (CONFIG_VFIO_NOIOMMU; modprobe vfio)")
    }
    guard text.first == "Y" else {
      throw KernelError(
        operation: "open", errno: .notPermitted, subject: "\(address) in no-IOMMU mode", remedy: remedy)
    }
  }
}
