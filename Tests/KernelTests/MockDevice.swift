// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import CMockIOMMU
import DMACore
import IOMMUFD
import LinuxHandles
import Synchronization
import SystemPackage

/// A device of the kernel's test interface, behind a mock IOMMU; it is attached and goes with this value.
///
/// What the mock IOMMU can do: ``MockIOMMU``. Its errors are those of the interface's own command.
final class MockDevice: Sendable {
  struct Flags: OptionSet {
    let rawValue: UInt32
    /// Its IOMMU tracks no dirty pages.
    static let noDirtyTracking = Flags(rawValue: CMOCK_DEVICE_NO_DIRTY)
    /// It has PASIDs.
    static let pasid = Flags(rawValue: CMOCK_DEVICE_PASID)
  }

  let context: IOMMUFDContext
  /// The mock device: destroying it detaches, unbinds and removes the device.
  let id: IOMMUFDObjectID
  /// The device as the kernel binds it: for GET_HW_INFO, HWPT_ALLOC, VIOMMU_ALLOC and the like.
  let deviceID: IOMMUFDObjectID
  private let attached: Mutex<IOMMUFDObjectID>
  private let isGone = Atomic<Bool>(false)

  /// Adds a device and attaches it.
  /// - Parameter target: An IOAS, whose page table is then found or made, or a page table.
  init(attachedTo target: IOMMUFDObjectID, in context: IOMMUFDContext, flags: Flags? = nil)
    throws(KernelError)
  {
    var ids = cmock_device()
    let fd = context.descriptor
    try kernelCall("IOMMU_TEST_OP_MOCK_DOMAIN", on: "\(target)") {
      if let flags {
        unsafe cmock_device_add_flags(fd, target.rawValue, flags.rawValue, &ids)
      } else {
        unsafe cmock_device_add(fd, target.rawValue, &ids)
      }
    }
    self.context = context
    id = IOMMUFDObjectID(ids.id)
    deviceID = IOMMUFDObjectID(ids.device_id)
    attached = Mutex(IOMMUFDObjectID(ids.hwpt_id))
  }

  convenience init(attachedTo ioas: IOAS, flags: Flags? = nil) throws(KernelError) {
    try self.init(attachedTo: ioas.id, in: ioas.context, flags: flags)
  }

  /// The page table that it is attached to.
  var pageTable: IOMMUFDObjectID { attached.withLock { $0 } }

  /// Attaches it to another IOAS or page table.
  /// - Returns: The page table.
  @discardableResult
  func replace(with target: IOMMUFDObjectID) throws(KernelError) -> IOMMUFDObjectID {
    var number = target.rawValue
    let (fd, id) = (context.descriptor, id)
    try kernelCall("IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE", on: "\(target)") {
      unsafe cmock_device_replace(fd, id.rawValue, &number)
    }
    let table = IOMMUFDObjectID(number)
    attached.withLock { $0 = table }
    return table
  }

  /// Detaches and removes it, once.
  /// - Throws: `KernelError` for `IOMMU_DESTROY`; it can be tried again.
  func destroy() throws(KernelError) {
    guard !isGone.exchange(true, ordering: .acquiringAndReleasing) else { return }
    do throws(KernelError) {
      try context.destroyForTest(id)
    } catch {
      isGone.store(false, ordering: .releasing)
      throw error
    }
  }

  deinit { _ = try? destroy() }
}

extension MockDevice {
  /// Checks that the page table leads to the same pages as memory of this process; `EINVAL` where not.
  func checkMap(_ iova: IOVA, _ memory: UnsafeRawBufferPointer) throws(KernelError) {
    try unsafe MockIOMMU.checkMap(iova, memory, of: pageTable, in: context)
  }

  /// Reports a page fault of the device.
  /// - Parameter permissions: Bits of `struct iommu_hwpt_pgfault`.
  func triggerPageFault(
    at address: UInt64, pasid: UInt32 = 0, group: UInt32 = 1, permissions: UInt32 = 0
  ) throws(KernelError) {
    let (fd, id) = (context.descriptor, deviceID)
    try kernelCall("IOMMU_TEST_OP_TRIGGER_IOPF") {
      cmock_device_page_fault(fd, id.rawValue, pasid, group, permissions, address)
    }
  }

  /// Reports an event of the device to its viommu.
  func triggerEvent() throws(KernelError) {
    let (fd, id) = (context.descriptor, deviceID)
    try kernelCall("IOMMU_TEST_OP_TRIGGER_VEVENT") { cmock_device_event(fd, id.rawValue) }
  }

  /// Checks an entry of the device's cache, which a viommu invalidates to 0; `EINVAL` where it differs.
  func checkCache(_ index: Int, is value: UInt32) throws(KernelError) {
    let (fd, id) = (context.descriptor, deviceID)
    try kernelCall("IOMMU_TEST_OP_DEV_CHECK_CACHE") {
      cmock_device_check_cache(fd, id.rawValue, UInt32(index), value)
    }
  }

  func attachPASID(_ pasid: UInt32, to target: IOMMUFDObjectID) throws(KernelError) {
    let (fd, id) = (context.descriptor, id)
    try kernelCall("IOMMU_TEST_OP_PASID_ATTACH", on: "\(pasid)") {
      cmock_pasid_attach(fd, id.rawValue, pasid, target.rawValue)
    }
  }

  func replacePASID(_ pasid: UInt32, with target: IOMMUFDObjectID) throws(KernelError) {
    let (fd, id) = (context.descriptor, id)
    try kernelCall("IOMMU_TEST_OP_PASID_REPLACE", on: "\(pasid)") {
      cmock_pasid_replace(fd, id.rawValue, pasid, target.rawValue)
    }
  }

  func detachPASID(_ pasid: UInt32) throws(KernelError) {
    let (fd, id) = (context.descriptor, id)
    try kernelCall("IOMMU_TEST_OP_PASID_DETACH", on: "\(pasid)") {
      cmock_pasid_detach(fd, id.rawValue, pasid)
    }
  }

  /// Checks that a PASID is attached to a page table, or to none; `EINVAL` where not.
  func checkPASID(_ pasid: UInt32, isAttachedTo table: IOMMUFDObjectID?) throws(KernelError) {
    let (fd, id) = (context.descriptor, id)
    try kernelCall("IOMMU_TEST_OP_PASID_CHECK_HWPT", on: "\(pasid)") {
      cmock_pasid_check(fd, id.rawValue, pasid, table?.rawValue ?? 0)
    }
  }
}
