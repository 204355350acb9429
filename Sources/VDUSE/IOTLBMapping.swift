// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DeviceRegisters
public import LinuxHandles
internal import SystemPackage

/// An entry of the IOTLB whose file is mapped here.
///
/// Accesses to pages that the other side took away (a hole in the bounce area, a file cut short) do not end the process:
/// loads give ones, stores go nowhere, system calls answer `EFAULT`.
@safe
public final class IOTLBMapping: Sendable {
  /// The entry.
  public let entry: IOTLBEntry
  /// Which address space it is of.
  public let addressSpace: Int
  // The guard goes before its memory: members die in the order of their declaration.
  private let guarding: WindowGuard
  private let memory: MappedMemory

  /// Maps an entry's file.
  /// - Throws: `KernelError` for `mmap` and `sigaction`.
  public init(_ file: consuming IOTLBFile, addressSpace: Int) throws(KernelError) {
    let entry = file.entry
    let (byteCount, overflow) = entry.range.byteCountMinusOne.addingReportingOverflow(1)
    guard !overflow, let count = Int(exactly: byteCount) else {
      throw KernelError(operation: "mmap", errno: .noMemory, subject: entry.range.description)
    }
    // The kernel opened the file for what the device may do, and a shared mapping that can be written must be read too.
    let memory = try MappedMemory.sharing(
      file.descriptor, offset: entry.fileOffset, byteCount: count, writable: entry.access == .readWrite)
    guarding = try WindowGuard(of: memory)
    self.memory = memory
    self.entry = entry
    self.addressSpace = addressSpace
  }

  /// Where the entry's first byte is.
  @unsafe public var baseAddress: UnsafeMutableRawPointer { unsafe memory.baseAddress }
}
