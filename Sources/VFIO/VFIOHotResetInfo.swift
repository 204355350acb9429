// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import IOMMUFD
internal import LinuxHandles
public import PCIBus
internal import SystemPackage

/// Which functions a hot reset of a device's bus or slot resets with it, and which of them are this owner's.
/// - Source: `struct vfio_pci_hot_reset_info`, include/uapi/linux/vfio.h, Linux 3.12; device numbers since 6.6.
public struct VFIOHotResetInfo: Hashable, Sendable {
  /// One function that the reset would reach.
  public struct Function: Hashable, Sendable {
    /// Which.
    public let address: PCIAddress
    /// By what its owner is known.
    public let owner: Owner
    /// Puts the facts together.
    public init(address: PCIAddress, owner: Owner) {
      self.address = address
      self.owner = owner
    }
  }

  /// By what the owner of a function is known.
  public enum Owner: Hashable, Sendable {
    /// Whoever has this IOMMU group open; the asking device was opened through a group.
    case group(Int)
    /// The iommufd of the asking device, under this number there.
    case device(IOMMUFDObjectID)
    /// The iommufd of the asking device owns the function's group, but the function is not open.
    case sameIOMMUFD
    /// Somebody else, or a driver that is not VFIO's.
    case other
  }

  /// All functions that the reset reaches, the asking one included.
  public let functions: [Function]
  /// Whether the kernel says that all of them are owned by the asking device's iommufd; nil where the device
  /// was opened through its group, and the groups that are given are the proof.
  public let isOwned: Bool?

  /// Reads an answer of `VFIO_DEVICE_GET_PCI_HOT_RESET_INFO` that is here already; nothing in it is trusted.
  /// - Parameter bytes: `struct vfio_pci_hot_reset_info` and what follows it.
  public init(decoding bytes: [UInt8]) { self.init(InfoBuffer(bytes)) }

  private init(_ answer: InfoBuffer) {
    let headSize = MemoryLayout<abi_vfio_pci_hot_reset_info>.size
    let head = answer.load(abi_vfio_pci_hot_reset_info.self, at: 0) ?? .init()
    let hasNumbers = head.flags & ABI_VFIO_PCI_HOT_RESET_FLAG_DEV_ID != 0
    isOwned = hasNumbers ? head.flags & ABI_VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED != 0 : nil
    var functions: [Function] = []
    for index in 0..<Int(head.count) {
      let place = headSize + index * MemoryLayout<abi_vfio_pci_dependent_device>.size
      guard let item = answer.load(abi_vfio_pci_dependent_device.self, at: place) else { break }
      guard
        let address = PCIAddress(
          domain: UInt32(item.segment), bus: item.bus, device: item.devfn >> 3, function: item.devfn & 7)
      else { continue }
      functions.append(Function(address: address, owner: Self.owner(item.id, isDevice: hasNumbers)))
    }
    self.functions = functions
  }

  private static func owner(_ id: UInt32, isDevice: Bool) -> Owner {
    guard isDevice else { return .group(Int(id)) }
    return switch Int32(bitPattern: id) {
    case ABI_VFIO_PCI_DEVID_OWNED: .sameIOMMUFD
    case ABI_VFIO_PCI_DEVID_NOT_OWNED: .other
    default: .device(IOMMUFDObjectID(id))
    }
  }

  init(of handle: VFIODeviceHandle, subject: String) throws(KernelError) {
    let headSize = MemoryLayout<abi_vfio_pci_hot_reset_info>.size
    let itemSize = MemoryLayout<abi_vfio_pci_dependent_device>.size
    // Most devices are alone; the kernel says how many there are where this is too short.
    var capacity = 2
    while true {
      var bytes = [UInt8](repeating: 0, count: headSize + capacity * itemSize)
      let result = try handle.call("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", on: subject) { fd in
        let result = unsafe bytes.withUnsafeMutableBytes { buffer in
          // SAFETY: the buffer holds the head, so it has an address.
          unsafe abi_vfio_device_get_pci_hot_reset_info(
            fd, buffer.baseAddress.unsafelyUnwrapped, UInt32(buffer.count))
        }
        // ENOSPC tells how many there are, which is an answer.
        return result == -Errno.noSpace.rawValue ? 1 : result
      }
      if result == 0 {
        self.init(decoding: bytes)
        return
      }
      let head = InfoBuffer(bytes).load(abi_vfio_pci_hot_reset_info.self, at: 0) ?? .init()
      // A bus has at most 256 functions.
      capacity = min(max(Int(head.count), capacity * 2), 256)
    }
  }

  /// The functions whose owner is not shown to be the caller.
  /// - Parameter groups: The numbers of the groups that the caller has open.
  public func strangers(owning groups: Set<Int>) -> [Function] {
    functions.filter { function in
      switch function.owner {
      case .group(let number): !groups.contains(number)
      case .device, .sameIOMMUFD: false
      case .other: true
      }
    }
  }
}
