// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// A region of an open file (a VFIO device, a sysfs resource): areas that are mapped, and pread and pwrite
/// for all the rest.
///
/// A place inside a mapped area is always reached through the mapping. Holds `parent`, so that the
/// descriptor stays open.
public final class DescriptorBacking: RegisterBacking {
  private let parent: any AnyObject & Sendable
  private let descriptor: CInt
  private let fileOffset: UInt64
  private let subject: String
  private let areas: AreaList
  private let fault = FirstFault()
  private let isDetached = Atomic<Bool>(false)

  /// Makes a backing over a region of an open file.
  /// - Parameters:
  ///   - parent: Keeps `descriptor` open for as long as it lives.
  ///   - fileOffset: Where the region begins in the file, in bytes.
  ///   - subject: What errors name.
  ///   - areas: The mapped parts, which must not overlap.
  public init(
    parent: any AnyObject & Sendable, descriptor: CInt, fileOffset: UInt64, subject: String,
    areas: consuming AreaList
  ) {
    self.parent = parent
    self.descriptor = descriptor
    self.fileOffset = fileOffset
    self.subject = subject
    self.areas = areas
  }

  /// Makes the window over this region whose largest mapped area is reached directly.
  public func window(byteCount: Int) -> RegisterWindow {
    guard let (base, range) = unsafe areas.largest() else {
      return RegisterWindow(byteCount: byteCount, backing: self)
    }
    return unsafe RegisterWindow(byteCount: byteCount, mappedBase: base, mappedRange: range, backing: self)
  }

  /// Takes the device out of the window: mapped places become memory that reads as all ones, so that the
  /// mapping no longer keeps the file open and no access meets a device that is gone.
  ///
  /// What is written there afterwards reads back, until the window goes; ``takeFault()`` has an error for good.
  /// - Throws: `KernelError` for `memfd_create` or `mmap`.
  public func detachFromDevice() throws(KernelError) {
    isDetached.store(true, ordering: .releasing)
    try areas.forEach { memory throws(KernelError) in try memory.replaceByOnes() }
  }

  /// Reads through the area that holds the place, or by pread.
  public func load(at byteOffset: Int, byteWidth: Int) throws(KernelError) -> UInt64 {
    if let address = unsafe areas.address(of: byteOffset, byteWidth: byteWidth) {
      return switch byteWidth {
      case 1: UInt64(unsafe UInt8.volatileLoad(address))
      case 2: UInt64(unsafe UInt16.volatileLoad(address))
      case 4: UInt64(unsafe UInt32.volatileLoad(address))
      default: unsafe UInt64.volatileLoad(address)
      }
    }
    var value: UInt64 = 0
    let (fd, place) = (descriptor, fileOffset + UInt64(byteOffset))
    let count = try kernelCall("pread", on: "\(subject) at \(byteOffset)") {
      unsafe abi_pread(fd, &value, UInt64(byteWidth), place)
    }
    try check(count, byteWidth, "pread", byteOffset)
    return value
  }

  /// Writes through the area that holds the place, or by pwrite.
  public func store(_ value: UInt64, at byteOffset: Int, byteWidth: Int) throws(KernelError) {
    if let address = unsafe areas.address(of: byteOffset, byteWidth: byteWidth) {
      switch byteWidth {
      case 1: unsafe UInt8.volatileStore(UInt8(truncatingIfNeeded: value), address)
      case 2: unsafe UInt16.volatileStore(UInt16(truncatingIfNeeded: value), address)
      case 4: unsafe UInt32.volatileStore(UInt32(truncatingIfNeeded: value), address)
      default: unsafe UInt64.volatileStore(value, address)
      }
      return
    }
    var value = value
    let (fd, place) = (descriptor, fileOffset + UInt64(byteOffset))
    let count = try kernelCall("pwrite", on: "\(subject) at \(byteOffset)") {
      unsafe abi_pwrite(fd, &value, UInt64(byteWidth), place)
    }
    try check(count, byteWidth, "pwrite", byteOffset)
  }

  private func check(
    _ count: Int64, _ byteWidth: Int, _ operation: String, _ byteOffset: Int
  ) throws(KernelError) {
    guard count == Int64(byteWidth) else {
      throw KernelError(
        operation: operation, errno: .ioError, subject: "\(subject) at \(byteOffset)",
        remedy: "the kernel moved \(count) of \(byteWidth) bytes; the region may be shorter than it says")
    }
  }

  /// The first error of an access that could not report it, and forgets it.
  ///
  /// After that of a revoked mapping the next access asks the device again.
  public func takeFault() -> KernelError? {
    let earlier = fault.take()
    guard !isDetached.load(ordering: .acquiring) else {
      return RevokedAccess.error(on: subject, because: RevokedAccess.reasonOfDetachment)
    }
    guard let place = areas.takeRevocation(descriptor, fileOffset: fileOffset) else { return earlier }
    return earlier
      ?? RevokedAccess.error(on: "\(subject) at \(place)", because: RevokedAccess.reasonOfSignal)
  }

  /// Keeps the first error.
  public func recordFault(_ error: KernelError) { fault.record(error) }
}
