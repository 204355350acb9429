// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DeviceRegisters
internal import Glibc
public import LinuxHandles
public import PCIBus
internal import SystemPackage

extension VFIODevice {
  /// Exports parts of a BAR as a dma-buf: a file that reaches them and nothing else of the device.
  ///
  /// The kernel revokes it while the device is being reset or its memory decode is off, and for good when the
  /// device closes. The file does not keep the device open.
  /// - Parameter ranges: In bytes of the BAR, whole pages; seen one after the other. One range where the file is to
  ///   be mapped into an IOAS.
  /// - Throws: `KernelError`: `EOPNOTSUPP` where the kernel has no such export; `ENXIO` where there is no such BAR;
  ///   `EINVAL` for a bad list.
  /// - Source: `struct vfio_device_feature_dma_buf`, include/uapi/linux/vfio.h.
  public borrowing func exportDMABuf(
    of bar: PCIBAR.Index, _ ranges: [Range<Int>]
  ) throws(KernelError) -> DMABuf {
    let subject = "\(address), BAR \(bar.rawValue)"
    let chosen = try registerRanges(of: bar, ranges)
    var message = [abi_vfio_region_dma_range](repeating: .init(), count: chosen.ranges.count + 1)
    for (index, range) in chosen.ranges.enumerated() {
      message[index + 1] = abi_vfio_region_dma_range(
        offset: UInt64(range.lowerBound), length: UInt64(range.count))
    }
    let head = abi_vfio_device_feature_dma_buf(
      region_index: UInt32(bar.rawValue), open_flags: UInt32(O_RDWR | O_CLOEXEC), flags: 0,
      nr_ranges: UInt32(chosen.ranges.count))
    do throws(KernelError) {
      let exported = try handle.call("VFIO_DEVICE_FEATURE_DMA_BUF", on: subject) { fd in
        unsafe message.withUnsafeMutableBytes { bytes in
          // SAFETY: the head is as long as the first element, which nothing else uses.
          unsafe bytes.storeBytes(of: head, as: abi_vfio_device_feature_dma_buf.self)
          return unsafe abi_vfio_device_feature(
            fd, ABI_VFIO_DEVICE_FEATURE_DMA_BUF, ABI_VFIO_DEVICE_FEATURE_GET, bytes.baseAddress,
            UInt32(bytes.count))
        }
      }
      return try DMABuf(adopting: OwnedDescriptor(adopting: exported))
    } catch {
      guard error.errno == Errno(rawValue: ENOTTY) else { throw error }
      throw KernelError(
        operation: error.operation, errno: .notSupported, subject: error.subject,
        remedy:
          "the kernel exports no BARs as dma-bufs (CONFIG_VFIO_PCI_DMABUF, Linux 6.19); a RegisterBroker "
          + "serves other processes")
    }
  }

  /// Prepares parts of a BAR for other processes: by a dma-buf that they map where the kernel can do that, else by
  /// a broker that this process runs.
  ///
  /// Both reach exactly the parts, and both answer like a removed device after they were taken away. A broker
  /// keeps the device open.
  /// - Parameter ranges: In bytes of the BAR, whole pages; seen one after the other.
  /// - Throws: `KernelError`: `ENXIO` where there is no such BAR, `EINVAL` for a bad list, or for `mmap`.
  public borrowing func delegate(
    _ bar: PCIBAR.Index, _ ranges: [Range<Int>]
  ) throws(KernelError) -> RegisterDelegation {
    do throws(KernelError) {
      let dmaBuf = try exportDMABuf(of: bar, ranges)
      if try dmaBuf.mappability == .mappable { return RegisterDelegation(dmaBuf) }
    } catch {
      guard error.errno == .notSupported else { throw error }
    }
    return RegisterDelegation(try broker(bar, ranges))
  }

  /// Serves parts of a BAR to processes that ask for each access; works on every kernel.
  /// - Throws: As ``delegate(_:_:)``.
  public borrowing func broker(
    _ bar: PCIBAR.Index, _ ranges: [Range<Int>]
  ) throws(KernelError) -> RegisterBroker {
    let chosen = try registerRanges(of: bar, ranges)
    let mappable = regions[bar.rawValue].mappableAreas
    return RegisterBroker(
      try window(of: .bar(bar.rawValue), mapping: mappable, guarded: true), ranges: chosen)
  }

  private borrowing func registerRanges(
    of bar: PCIBAR.Index, _ ranges: [Range<Int>]
  ) throws(KernelError) -> RegisterRanges {
    let subject = "\(address), BAR \(bar.rawValue)"
    let byteCount = Int(regions[bar.rawValue].byteCount)
    guard byteCount > 0 else {
      throw KernelError(operation: "choose registers", errno: .noSuchAddressOrDevice, subject: subject)
    }
    return try RegisterRanges(ranges, within: byteCount, of: subject)
  }
}
