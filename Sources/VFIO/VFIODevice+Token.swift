// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import PCIBus
internal import SystemPackage

extension VFIODevice {
  /// Sets the token that whoever opens a virtual function of this physical one must know from now on.
  ///
  /// Those that are open stay open. The kernel keeps it until another is set, also when this device closes; it
  /// cannot be read back.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`: `ENOTTY` where this is no physical function.
  /// - Source: `VFIO_DEVICE_FEATURE_PCI_VF_TOKEN`, include/uapi/linux/vfio.h, Linux 5.7.
  public borrowing func setVFToken(_ token: VFToken) throws(KernelError) {
    var bytes = token.abi
    try handle.set(.vfToken, &bytes, subject: "\(address)")
  }
}

extension VFToken {
  /// The bytes as one value, for calls that take their address.
  var abi: InlineArray<16, UInt8> { InlineArray { bytes[$0] } }

  /// What `VFIO_GROUP_GET_DEVICE_FD` wants for a function that is opened with a token.
  func deviceName(_ address: PCIAddress) -> String { "\(address) vf_token=\(self)" }
}

extension KernelError {
  /// Adds what helps where the kernel refused to open a function for its token, or for the lack of one.
  func advisingOnToken(_ token: VFToken?) -> KernelError {
    switch (errno, token) {
    case (.permissionDenied, nil):
      advising(
        "the function takes part in SR-IOV under vfio-pci: give the token that the owner of the physical "
          + "function has set")
    case (.permissionDenied, _):
      advising("this is not the token that the owner of the physical function has set")
    case (.invalidArgument, .some):
      advising(
        "a token was given where none is used: for a function without SR-IOV, or one whose physical function "
          + "is not bound to vfio-pci; or, by its own node, the kernel is older than 6.19")
    default: self
    }
  }
}

extension VFIODevice {
  /// Binds an open node to an iommufd, with the token where there is one; `bind` names the iommufd.
  static func bind(
    _ fd: CInt, _ bind: inout abi_vfio_device_bind_iommufd, token: VFToken?, subject: String
  ) throws(KernelError) {
    var bytes = token?.abi ?? InlineArray(repeating: 0)
    if token != nil { bind.flags |= ABI_VFIO_DEVICE_BIND_FLAG_TOKEN }
    try unsafe withUnsafeMutableBytes(of: &bytes) { bytes throws(KernelError) in
      // SAFETY: the kernel reads the bytes during the call only.
      bind.token_uuid_ptr = token == nil ? 0 : UInt64(UInt(bitPattern: bytes.baseAddress))
      try kernelCall("VFIO_DEVICE_BIND_IOMMUFD", on: subject) {
        unsafe abi_vfio_device_bind_iommufd(fd, &bind)
      }
    }
    bind.token_uuid_ptr = 0
  }
}
