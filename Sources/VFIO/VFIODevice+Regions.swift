// SPDX-License-Identifier: Apache-2.0
internal import DMACore
public import DeviceRegisters
public import LinuxHandles
public import PCIBus
internal import SystemPackage

extension VFIODevice {
  /// Opens a BAR as a register window: what may be mapped is mapped, the rest goes through the kernel.
  /// - Throws: `KernelError`: `ENXIO` where there is no such BAR, or for `mmap`.
  public borrowing func mapBAR(_ index: PCIBAR.Index) throws(KernelError) -> RegisterWindow {
    try window(of: index, mapping: regions[index.rawValue].mappableAreas, guarded: guardsWindows)
  }

  /// Opens a BAR as a window of which nothing is mapped: each access is a system call.
  ///
  /// For comparing, and for places where a mapping is in the way; slower by a factor of hundreds.
  /// - Throws: `KernelError`: `ENXIO` where there is no such BAR.
  public borrowing func unmappedWindow(_ index: PCIBAR.Index) throws(KernelError) -> RegisterWindow {
    try window(of: index, mapping: [], guarded: false)
  }

  borrowing func window(
    of index: PCIBAR.Index, mapping mappable: [Range<UInt64>], guarded: Bool
  ) throws(KernelError) -> RegisterWindow {
    let region = regions[index.rawValue]
    guard region.byteCount > 0 else {
      throw KernelError(
        operation: "map BAR", errno: .noSuchAddressOrDevice, subject: "\(address), BAR \(index.rawValue)",
        remedy: "the function has no such BAR, or it is the upper half of the one before")
    }
    var areas = AreaList()
    for area in mappable where area.count >= MemoryPageSize.standard.byteCount {
      // An area smaller than a page is shared with its neighbours: the kernel maps whole pages only.
      let memory = try handle.map(fileOffset: region.fileOffset + area.lowerBound, byteCount: area.count)
      let place = Int(area.lowerBound)
      areas.append(
        guarded
          ? try MappedArea(guardedAt: place, memory: memory) : MappedArea(byteOffset: place, memory: memory))
    }
    let backing = DescriptorBacking(
      parent: handle, descriptor: handle.descriptor, fileOffset: region.fileOffset,
      subject: "\(address), BAR \(index.rawValue)", areas: areas)
    return backing.window(byteCount: Int(region.byteCount))
  }
}
