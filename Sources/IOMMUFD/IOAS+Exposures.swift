// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import LinuxHandles
internal import SystemPackage

extension IOAS {
  /// Lets devices reach memory of a memory file, mapped as the file and not by its addresses.
  ///
  /// Another process that takes the context over can then answer for it: ``IOMMUFDContext/adoptMappings()``. Else it
  /// is as ``AddressSpace/expose(_:access:sharing:at:addressBits:)``.
  /// - Parameters:
  ///   - memory: Consumed; of the kind `file`.
  ///   - access: What the *devices* may do.
  ///   - sharing: Whether data changes hands at the sync calls or is seen at any time.
  ///   - iova: Where; nil lets the library choose.
  ///   - addressBits: How many address bits the devices drive.
  /// - Throws: `KernelError`: `EINVAL` for memory that is no memory file's; else as there, for `IOMMU_IOAS_MAP_FILE`.
  ///   The memory is freed.
  /// - Source: `struct iommu_ioas_map_file`, include/uapi/linux/iommufd.h.
  public func exposeFile(
    _ memory: consuming UnsharedMemory, access: DMAAccess, sharing: DMASharing = .streaming,
    at iova: IOVA? = nil, addressBits: Int = 64
  ) throws(KernelError) -> DMAMemory {
    guard let file = try memory.duplicateFile() else {
      throw KernelError(
        operation: "expose file", errno: .invalidArgument, subject: "memory of \(memory.byteCount) bytes",
        remedy: "allocate it with the kind file")
    }
    let (fd, byteCount) = (file.rawValue, UInt64(memory.byteCount))
    let route = MappingRoute(into: self) { [self] range throws(KernelError) in
      // A file's memory begins at its first byte, and is exposed as a whole.
      _ = try mapFile(fd, 0..<byteCount, at: range.start, access: access)
    }
    let exposed = try route.expose(
      memory, access: access, sharing: sharing, at: iova, addressBits: addressBits)
    // Mapped: the kernel has a hold of the file itself.
    try file.close()
    return exposed
  }

  /// Lets devices reach memory at an address that the kernel chooses.
  ///
  /// For an address space that others map into as well, whose mappings this process does not know: what was adopted,
  /// or VFIO's. The kernel keeps to what ``allow(_:)`` allows, if anything. Where its choice is still taken here (by
  /// memory that was cut off, and whose owner has it yet) the library chooses.
  ///
  /// The two choose without asking each other: where another thread exposes memory in the same address space at that
  /// moment and lets the library choose, either of the two may get `EEXIST`.
  /// - Parameters:
  ///   - memory: Consumed; ``DMAMemory/reclaim()`` gives it back once unmapped.
  ///   - access: What the *devices* may do.
  ///   - sharing: Whether data changes hands at the sync calls or is seen at any time.
  /// - Throws: `KernelError` for `IOMMU_IOAS_MAP`: `ENOSPC` the kernel finds no place, `ENOMEM` over the limit of locked
  ///   memory, `EEXIST` as above. The memory is freed.
  public func exposeAnywhere(
    _ memory: consuming UnsharedMemory, access: DMAAccess, sharing: DMASharing = .streaming
  ) throws(KernelError) -> DMAMemory {
    var memory = memory
    let range: IOVARange
    do {
      var bytes = memory.bytes
      // SAFETY: this function has the memory until it is exposed, and unmaps it where it is not.
      range = try unsafe mapBytes(
        bytes.withUnsafeMutableBytes { UnsafeRawBufferPointer($0) }, access: access)
    }
    do throws(KernelError) {
      try take(range)
    } catch {
      try unmapPages(range)
      return try expose(memory, access: access, sharing: sharing)
    }
    // Mapped already. The exposure takes the addresses itself.
    let route = MappingRoute(into: self) { _ throws(KernelError) in }
    reservations.giveBack(range)
    do throws(KernelError) {
      return try route.expose(memory, access: access, sharing: sharing, at: range.start)
    } catch {
      _ = try? unmapPages(range)
      throw error
    }
  }

  private func take(_ range: IOVARange) throws(KernelError) {
    _ = try reservations.take(
      at: range.start, byteCount: Int(range.byteCountMinusOne) + 1, alignment: granuleByteCount,
      granule: granuleByteCount, upTo: IOVA(.max), in: label)
  }
}

extension DMAMemory {
  /// Lets the devices of a second address space reach this memory too, by a copy of its mapping.
  ///
  /// As ``share(with:bytes:access:sharing:at:addressBits:)``, but the kernel pins and charges nothing again. The
  /// share outlives this memory's own mapping all the same.
  /// - Parameters:
  ///   - ioas: The other one, of the same context.
  ///   - bytes: Which part, whole pages; nil for all.
  ///   - access: What its *devices* may do.
  ///   - sharing: Whether data changes hands at the share's sync calls or is seen at any time.
  ///   - iova: Where; nil lets the library choose.
  ///   - addressBits: How many address bits its devices drive.
  /// - Throws: `KernelError`: `EINVAL` where this memory is not mapped in an ``IOAS`` of the same context, or for a part
  ///   that is not of whole pages; for `IOMMU_IOAS_COPY`: `EPERM` for writing to what is mapped for reading. This memory
  ///   stays as it was.
  /// - Source: `struct iommu_ioas_copy`, include/uapi/linux/iommufd.h, Linux 6.2.
  public borrowing func share(
    copyingMappingTo ioas: IOAS, bytes: Range<Int>? = nil, access: DMAAccess,
    sharing: DMASharing = .streaming, at iova: IOVA? = nil, addressBits: Int = 64
  ) throws(KernelError) -> DMAShare {
    guard let source = space as? IOAS ?? (space as? MappingRoute)?.ioas else {
      throw KernelError(
        operation: "IOMMU_IOAS_COPY", errno: .invalidArgument, subject: "\(space.label) to \(ioas.label)",
        remedy: "only what an IOAS has mapped can be copied; share(with:) maps it a second time")
    }
    let start = self.iova
    let offset = UInt64(clamping: bytes?.lowerBound ?? 0)
    let route = MappingRoute(into: ioas) { range throws(KernelError) in
      let (from, _) = start.rawValue.addingReportingOverflow(offset)
      let (last, _) = from.addingReportingOverflow(range.byteCountMinusOne)
      _ = try ioas.copyMapping(
        of: IOVARange(start: IOVA(from), last: IOVA(last)), from: source, at: range.start, access: access)
    }
    return try share(
      with: route, bytes: bytes, access: access, sharing: sharing, at: iova, addressBits: addressBits)
  }
}
