// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import LinuxHandles

/// What VFIO says of a device as a whole.
/// - Source: `struct vfio_device_info`, include/uapi/linux/vfio.h, Linux 3.6; atomic operations since 6.5.
public struct VFIODeviceInfo: Hashable, Sendable {
  /// The widths of atomic operations that the root port completes for the device's DMA.
  ///
  /// Empty where the path to the root port has none, or the kernel does not say.
  /// - Source: `struct vfio_device_info_cap_pci_atomic_comp`, include/uapi/linux/vfio.h, Linux 6.5.
  public struct AtomicCompletions: OptionSet, Hashable, Sendable {
    /// The kernel's bits.
    public let rawValue: UInt32
    /// Takes the kernel's bits as they are.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// 32 bits wide.
    public static let bits32 = AtomicCompletions(rawValue: ABI_VFIO_PCI_ATOMIC_COMP32)
    /// 64 bits wide.
    public static let bits64 = AtomicCompletions(rawValue: ABI_VFIO_PCI_ATOMIC_COMP64)
    /// 128 bits wide, for compare and swap.
    public static let bits128 = AtomicCompletions(rawValue: ABI_VFIO_PCI_ATOMIC_COMP128)
  }

  /// Whether it is a PCI function.
  public let isPCI: Bool
  /// Whether it can be reset on its own.
  public let isResettable: Bool
  /// The number of its regions: nine that every PCI function has, then those of its vendor.
  public let regionCount: Int
  /// The number of kinds of interrupts that may be asked for.
  public let interruptIndexCount: Int
  /// Atomic operations by DMA.
  public let atomicCompletions: AtomicCompletions

  init(of fd: CInt, subject: String) throws(KernelError) {
    let answer = try unsafe InfoBuffer(
      byteCount: MemoryLayout<abi_vfio_device_info>.size, operation: "VFIO_DEVICE_GET_INFO", subject: subject
    ) { unsafe abi_vfio_device_get_info(fd, $0, $1) }
    self.init(answer)
  }

  /// Reads an answer of `VFIO_DEVICE_GET_INFO` that is here already; nothing in it is trusted.
  /// - Parameter bytes: `struct vfio_device_info` and what follows it.
  public init(decoding bytes: [UInt8]) { self.init(InfoBuffer(bytes)) }

  private init(_ answer: InfoBuffer) {
    let head = answer.load(abi_vfio_device_info.self, at: 0) ?? .init()
    isPCI = head.flags & ABI_VFIO_DEVICE_FLAGS_PCI != 0
    isResettable = head.flags & ABI_VFIO_DEVICE_FLAGS_RESET != 0
    // A device has a handful of either; a number beyond that is no reason to ask for hours.
    regionCount = Int(min(head.num_regions, 256))
    interruptIndexCount = Int(min(head.num_irqs, 256))
    var completions: AtomicCompletions = []
    if head.flags & ABI_VFIO_DEVICE_FLAGS_CAPS != 0 {
      for capability in answer.capabilities(from: head.cap_offset)
      where UInt32(capability.id) == ABI_VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP {
        let found = answer.load(
          abi_vfio_device_info_cap_pci_atomic_comp.self, at: capability.byteOffset)
        completions.formUnion(.init(rawValue: found?.flags ?? 0))
      }
    }
    atomicCompletions = completions
  }
}
