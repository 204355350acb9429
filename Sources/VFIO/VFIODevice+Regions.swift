// SPDX-License-Identifier: Apache-2.0
internal import DMACore
public import DeviceRegisters
public import LinuxHandles
public import PCIBus
internal import SystemPackage

extension VFIODevice {
  /// Opens a BAR as a register window: what may be mapped is mapped, the rest goes through the kernel.
  /// - Throws: `KernelError`: `ENXIO` where there is no such BAR, `EBUSY` in low power, or for `mmap`.
  public borrowing func mapBAR(_ index: PCIBAR.Index) throws(KernelError) -> RegisterWindow {
    try window(
      of: .bar(index.rawValue), mapping: region(.bar(index.rawValue))?.mappableAreas ?? [],
      guarded: guardsWindows)
  }

  /// Opens a BAR as a window of which nothing is mapped: each access is a system call.
  ///
  /// For comparing, and for places where a mapping is in the way; slower by a factor of hundreds.
  /// - Throws: `KernelError`: `ENXIO` where there is no such BAR, `EBUSY` in low power.
  public borrowing func unmappedWindow(_ index: PCIBAR.Index) throws(KernelError) -> RegisterWindow {
    try window(of: .bar(index.rawValue), mapping: [], guarded: false)
  }

  /// Opens any region as a window: a BAR, the expansion ROM, VGA's ports and memory, a region of its vendor.
  ///
  /// A write to a region that is read-only waits as `EINVAL` in ``RegisterWindow/takeFault()``. Offsets of
  /// VGA's window are the ports and addresses that a VGA display answers (0x3c0, 0xa0000).
  /// - Throws: `KernelError`: `ENXIO` where the device has no such region, `EBUSY` in low power, or for `mmap`.
  public borrowing func mapRegion(_ index: VFIORegionIndex) throws(KernelError) -> RegisterWindow {
    try window(of: index, mapping: region(index)?.mappableAreas ?? [], guarded: guardsWindows)
  }

  /// The facts of a region; nil where the device has fewer.
  public borrowing func region(_ index: VFIORegionIndex) -> VFIORegionInfo? {
    Int(index.rawValue) < regions.count ? regions[Int(index.rawValue)] : nil
  }

  /// The facts of the first region that is of a type.
  public borrowing func region(of type: VFIORegionType) -> VFIORegionInfo? {
    regions.first { $0.type == type }
  }

  borrowing func window(
    of index: VFIORegionIndex, mapping mappable: [Range<UInt64>], guarded: Bool
  ) throws(KernelError) -> RegisterWindow {
    let subject = "\(address), \(index)"
    guard let region = region(index), region.byteCount > 0 else {
      throw KernelError(
        operation: "map region", errno: .noSuchAddressOrDevice, subject: subject,
        remedy: index.isBAR
          ? "the function has no such BAR, or it is the upper half of the one before"
          : "the function has no such region")
    }
    let lease = try VFIOWindowLease(of: handle, subject)
    var areas = AreaList()
    for area in mappable where area.count >= MemoryPageSize.standard.byteCount {
      // An area smaller than a page is shared with its neighbours: the kernel maps whole pages only.
      let memory = try handle.map(area, of: region)
      let place = Int(area.lowerBound)
      areas.append(
        guarded
          ? try MappedArea(guardedAt: place, memory: memory) : MappedArea(byteOffset: place, memory: memory))
    }
    let backing = DescriptorBacking(
      parent: lease, descriptor: handle.descriptor, fileOffset: region.fileOffset, subject: subject,
      areas: areas)
    try handle.note(backing)
    return backing.window(byteCount: Int(region.byteCount))
  }
}
