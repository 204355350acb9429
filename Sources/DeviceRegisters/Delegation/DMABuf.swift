// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

/// One dma-buf: an open file that stands for device memory, here for registers of a BAR.
///
/// Whoever has the descriptor reaches exactly the exported parts, never the device. The kernel revokes it while
/// the device is being reset or its memory decode is off, and for good when the device is closed or its
/// owner dies.
/// - Source: Documentation/driver-api/dma-buf.rst; `VFIO_DEVICE_FEATURE_DMA_BUF`, include/uapi/linux/vfio.h.
public struct DMABuf: ~Copyable, Sendable {
  /// How a process reaches what a dma-buf stands for.
  public enum Mappability: String, Hashable, Sendable {
    /// The file can be mapped: a window needs the descriptor and nothing else.
    case mappable
    /// The kernel maps no dma-buf of a BAR (none that is released does, up to Linux 7.3): the owner serves
    /// single accesses; see ``RegisterBroker``.
    case brokerOnly = "broker only"
  }

  /// The file.
  public let descriptor: OwnedDescriptor
  /// The length of all parts together, in bytes: whole pages.
  public let byteCount: Int

  /// Takes over a descriptor that this process made or was sent.
  /// - Throws: `KernelError` for `lseek`: `ESPIPE` where it is no such file; `EINVAL` for a length that is not whole
  ///   pages. The descriptor is closed then.
  public init(adopting descriptor: consuming OwnedDescriptor) throws(KernelError) {
    let fd = descriptor.rawValue
    let count = try kernelCall("lseek", on: "dma-buf") { abi_dma_buf_size(fd) }
    guard count > 0, Int(count) % RegisterRanges.pageByteCount == 0 else {
      throw KernelError(
        operation: "adopt dma-buf", errno: .invalidArgument, subject: "descriptor \(fd), \(count) bytes",
        remedy: "a dma-buf of registers has whole pages")
    }
    self.descriptor = descriptor
    byteCount = Int(count)
  }

  /// Which of the two this kernel offers for this file, found by trying.
  /// - Throws: `KernelError` for `mmap`, other than the refusal itself.
  public var mappability: Mappability {
    get throws(KernelError) {
      do throws(KernelError) {
        let page = RegisterRanges.pageByteCount
        try MappedMemory.sharing(descriptor, offset: 0, byteCount: page).unmap()
        return .mappable
      } catch {
        guard error.operation == "mmap", error.errno == .invalidArgument else { throw error }
        return .brokerOnly
      }
    }
  }

  /// Opens a part of it as a window of registers: mapped as a whole, uncached, guarded (see ``WindowGuard``).
  ///
  /// The window keeps the file open by itself. After a revocation its reads give all ones and `takeFault()` says
  /// so; it comes back to life when the kernel gives the registers back.
  /// - Parameter bytes: Whole pages of the file; nil for all of it.
  /// - Throws: `KernelError` for `mmap`: `EINVAL` where the kernel maps no such file (``Mappability/brokerOnly``)
  ///   or for a part outside the file; for `dup` or `sigaction`.
  public borrowing func window(_ bytes: Range<Int>? = nil) throws(KernelError) -> RegisterWindow {
    let part = try RegisterRanges([bytes ?? 0..<byteCount], within: byteCount, of: "dma-buf")
    let file = DMABufFile(try descriptor.duplicate())
    let start = UInt64(part.ranges[0].lowerBound)
    let memory: MappedMemory
    do throws(KernelError) {
      memory = try MappedMemory.sharing(file.descriptor, offset: start, byteCount: part.byteCount)
    } catch {
      throw error.errno == .invalidArgument
        ? error.advising("this kernel cannot map a BAR's dma-buf; ask its owner for a broker") : error
    }
    var areas = AreaList()
    areas.append(try MappedArea(guardedAt: 0, memory: memory))
    return DescriptorBacking(
      parent: file, descriptor: file.descriptor.rawValue, fileOffset: start, subject: "dma-buf",
      areas: areas
    ).window(byteCount: part.byteCount)
  }

  /// Closes this descriptor; mappings and other descriptors of the file stay.
  public consuming func close() throws(KernelError) { try descriptor.close() }

  consuming func intoDescriptor() -> OwnedDescriptor { descriptor }
}

/// Keeps a dma-buf open for a window.
private final class DMABufFile: Sendable {
  let descriptor: OwnedDescriptor
  init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
}
