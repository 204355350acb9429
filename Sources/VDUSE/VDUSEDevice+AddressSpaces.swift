// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import SystemPackage

/// A range of addresses that are mapped, and where their bytes are in a file.
/// - Source: `struct vduse_iotlb_entry`, include/uapi/linux/vduse.h, Linux 5.15.
public struct IOTLBEntry: Hashable, Sendable {
  /// The addresses.
  public let range: IOVARange
  /// Where in the file they begin, in bytes.
  public let fileOffset: UInt64
  /// What the device may do with them.
  public let access: DMAAccess

  package init(range: IOVARange, fileOffset: UInt64, access: DMAAccess) {
    (self.range, self.fileOffset, self.access) = (range, fileOffset, access)
  }
}

/// What can be done with a range of addresses.
/// - Source: `struct vduse_iova_info`, include/uapi/linux/vduse.h, Linux 6.0.
public struct IOTLBEntryInfo: Hashable, Sendable {
  /// The addresses.
  public let range: IOVARange
  /// Whether memory of this process may stand in for the kernel's; see ``VDUSEDevice/registerMemory(_:addressSpace:)``.
  public let takesUserMemory: Bool
}

/// An entry with its file.
///
/// Frozen, so that its owner can take it apart.
@frozen
public struct IOTLBFile: ~Copyable, Sendable {
  /// The entry.
  public let entry: IOTLBEntry
  /// The file, open for what the device may do.
  public let descriptor: OwnedDescriptor

  package init(entry: IOTLBEntry, descriptor: consuming OwnedDescriptor) {
    self.entry = entry
    self.descriptor = descriptor
  }
}

extension VDUSEDevice {
  /// The first entry that has addresses of a range.
  /// - Returns: Nil where nothing of the range is mapped.
  /// - Throws: `KernelError` for `VDUSE_IOTLB_GET_FD2` or `VDUSE_IOTLB_GET_FD`: `EMFILE` at the process's limit of
  ///   descriptors, `EPERM` for a device that is broken.
  public borrowing func entry(
    overlapping range: IOVARange, addressSpace: Int = 0
  ) throws(KernelError) -> IOTLBFile? {
    do throws(KernelError) {
      return switch apiVersion {
      case .one: try entryOfVersion1(range, addressSpace)
      case .zero: try entryOfVersion0(range)
      }
    } catch {
      // The kernel has no other word for an address that nobody mapped.
      guard error.errno == .invalidArgument else { throw error }
      return nil
    }
  }

  private borrowing func entryOfVersion0(_ range: IOVARange) throws(KernelError) -> IOTLBFile {
    var raw = abi_vduse_iotlb_entry()
    let fd = descriptor.rawValue
    let file = try deviceCall("VDUSE_IOTLB_GET_FD", on: "\(range) of \(name)") {
      (raw.start, raw.last) = (range.start.rawValue, range.last.rawValue)
      return unsafe abi_vduse_iotlb_get_fd(fd, &raw)
    }
    return IOTLBFile(
      entry: IOTLBEntry(start: raw.start, last: raw.last, fileOffset: raw.offset, permission: raw.perm),
      descriptor: OwnedDescriptor(adopting: file))
  }

  private borrowing func entryOfVersion1(
    _ range: IOVARange, _ addressSpace: Int
  ) throws(KernelError) -> IOTLBFile {
    var raw = abi_vduse_iotlb_entry_v2()
    let fd = descriptor.rawValue
    let file = try deviceCall("VDUSE_IOTLB_GET_FD2", on: "\(range) in space \(addressSpace) of \(name)") {
      (raw.start, raw.last) = (range.start.rawValue, range.last.rawValue)
      raw.asid = UInt32(clamping: addressSpace)
      return unsafe abi_vduse_iotlb_get_fd2(fd, &raw)
    }
    return IOTLBFile(
      entry: IOTLBEntry(start: raw.start, last: raw.last, fileOffset: raw.offset, permission: raw.perm),
      descriptor: OwnedDescriptor(adopting: file))
  }

  /// What can be done with the first entry that has addresses of a range.
  /// - Returns: Nil where nothing of the range is mapped.
  /// - Throws: `KernelError` for `VDUSE_IOTLB_GET_INFO`.
  public borrowing func entryInfo(
    overlapping range: IOVARange, addressSpace: Int = 0
  ) throws(KernelError) -> IOTLBEntryInfo? {
    var raw = abi_vduse_iova_info()
    let fd = descriptor.rawValue
    do throws(KernelError) {
      try deviceCall("VDUSE_IOTLB_GET_INFO", on: "\(range) of \(name)") {
        (raw.start, raw.last) = (range.start.rawValue, range.last.rawValue)
        raw.asid = UInt32(clamping: addressSpace)
        return unsafe abi_vduse_iotlb_get_info(fd, &raw)
      }
    } catch {
      guard error.errno == .invalidArgument else { throw error }
      return nil
    }
    return IOTLBEntryInfo(
      range: IOVARange(start: IOVA(raw.start), last: IOVA(raw.last)),
      takesUserMemory: raw.capability & UInt64(ABI_VDUSE_IOVA_CAP_UMEM) != 0)
  }

  /// Lets memory of this process stand in for the kernel's bounce pages, which are the addresses from 0.
  ///
  /// The kernel keeps the pages until ``deregisterMemory(_:addressSpace:)`` or the end of this open device.
  /// - Parameter memory: As long as the entry at address 0, which its info says to take user memory.
  /// - Throws: `KernelError` for `VDUSE_IOTLB_REG_UMEM`: `EINVAL` for another length, `EEXIST` where memory is registered,
  ///   `ENOMEM` over RLIMIT_MEMLOCK, whatever the privilege.
  public borrowing func registerMemory(
    _ memory: borrowing MappedMemory, addressSpace: Int = 0
  ) throws(KernelError) {
    let fd = descriptor.rawValue
    var command = Self.userMemory(memory, addressSpace)
    do throws(KernelError) {
      try deviceCall("VDUSE_IOTLB_REG_UMEM", on: "\(command.size) bytes for \(name)") {
        unsafe abi_vduse_iotlb_reg_umem(fd, &command)
      }
    } catch {
      guard error.errno == .noMemory, let limit = (try? MemoryLockLimit.current())?.limit else { throw error }
      throw error.advising(
        "needed \(command.size) bytes of locked memory, limit \(limit): ulimit -l \((command.size + 1023) / 1024)"
      )
    }
  }

  /// Takes the memory back: its bytes go into pages of the kernel.
  /// - Throws: `KernelError` for `VDUSE_IOTLB_DEREG_UMEM`: `ENOENT` where none is registered.
  public borrowing func deregisterMemory(
    _ memory: borrowing MappedMemory, addressSpace: Int = 0
  ) throws(KernelError) {
    let fd = descriptor.rawValue
    var command = Self.userMemory(memory, addressSpace)
    try kernelRelease("VDUSE_IOTLB_DEREG_UMEM", on: "\(command.size) bytes for \(name)") {
      unsafe abi_vduse_iotlb_dereg_umem(fd, &command)
    }
  }

  private static func userMemory(_ memory: borrowing MappedMemory, _ addressSpace: Int) -> abi_vduse_iova_umem
  {
    var command = abi_vduse_iova_umem()
    command.uaddr = UInt64(UInt(bitPattern: unsafe memory.baseAddress))
    command.size = UInt64(memory.byteCount)
    command.asid = UInt32(clamping: addressSpace)
    return command
  }
}

extension IOTLBEntry {
  fileprivate init(start: UInt64, last: UInt64, fileOffset: UInt64, permission: UInt8) {
    range = IOVARange(start: IOVA(start), last: IOVA(last))
    self.fileOffset = fileOffset
    access =
      switch CInt(permission) {
      case ABI_VDUSE_ACCESS_RO: .read
      case ABI_VDUSE_ACCESS_WO: .write
      default: .readWrite
      }
  }
}
