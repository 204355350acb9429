// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import SystemPackage

/// An access to an address space from inside the kernel, as a mediated device makes it; closed with this value.
struct MockAccess: ~Copyable {
  /// The number of a pin, for undoing it.
  struct Pin: Hashable { let rawValue: UInt32 }

  let context: IOMMUFDContext
  private let descriptor: OwnedDescriptor

  /// - Parameter pinsPages: Whether it may pin; else it may only copy.
  init(to ioas: IOAS, pinsPages: Bool) throws(KernelError) {
    let fd = ioas.context.descriptor
    descriptor = OwnedDescriptor(
      adopting: try kernelCall("IOMMU_TEST_OP_CREATE_ACCESS", on: ioas.label) {
        cmock_access_create(fd, ioas.id.rawValue, pinsPages ? 1 : 0)
      })
    context = ioas.context
  }

  /// Moves it to another address space; all that it pinned is unpinned.
  borrowing func move(to ioas: IOAS) throws(KernelError) {
    let (fd, access) = (context.descriptor, descriptor.rawValue)
    try kernelCall("IOMMU_TEST_OP_ACCESS_REPLACE_IOAS", on: ioas.label) {
      cmock_access_replace(fd, access, ioas.id.rawValue)
    }
  }

  /// Pins pages.
  /// - Parameter memory: Compared with them; a nil address compares nothing.
  borrowing func pin(
    _ iova: IOVA, _ memory: UnsafeRawBufferPointer, writing: Bool = true
  ) throws(KernelError) -> Pin {
    let (fd, access) = (context.descriptor, descriptor.rawValue)
    var pin: UInt32 = 0
    try kernelCall("IOMMU_TEST_OP_ACCESS_PAGES", on: "\(iova)") {
      unsafe cmock_access_pin(
        fd, access, iova.rawValue, UInt64(memory.count), memory.baseAddress, writing ? 1 : 0, &pin)
    }
    return Pin(rawValue: pin)
  }

  /// Undoes a pin; `ENOENT` where an unmap of the addresses did already.
  borrowing func unpin(_ pin: Pin) throws(KernelError) {
    let (fd, access) = (context.descriptor, descriptor.rawValue)
    try kernelCall("IOMMU_TEST_OP_DESTROY_ACCESS_PAGES") { cmock_access_unpin(fd, access, pin.rawValue) }
  }

  /// Copies from the address space.
  /// - Parameter slowly: Looks pages up one by one, as another process must.
  borrowing func read(
    _ iova: IOVA, into buffer: UnsafeMutableRawBufferPointer, slowly: Bool = false
  ) throws(KernelError) {
    try unsafe copy(iova, buffer, writing: false, slowly: slowly)
  }

  /// Copies to the address space.
  borrowing func write(
    _ iova: IOVA, from buffer: UnsafeMutableRawBufferPointer, slowly: Bool = false
  ) throws(KernelError) {
    try unsafe copy(iova, buffer, writing: true, slowly: slowly)
  }

  private borrowing func copy(
    _ iova: IOVA, _ buffer: UnsafeMutableRawBufferPointer, writing: Bool, slowly: Bool
  ) throws(KernelError) {
    let (fd, access) = (context.descriptor, descriptor.rawValue)
    try kernelCall("IOMMU_TEST_OP_ACCESS_RW", on: "\(iova)") {
      unsafe cmock_access_copy(
        fd, access, iova.rawValue, UInt64(buffer.count), buffer.baseAddress, writing ? 1 : 0, slowly ? 1 : 0)
    }
  }

  consuming func close() throws(KernelError) { try descriptor.close() }
}
