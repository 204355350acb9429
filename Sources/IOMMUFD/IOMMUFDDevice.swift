// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// The calls by which a bound device is attached and detached: VFIO's, or those of a test's device.
public protocol IOMMUFDAttachmentCalls: Sendable {
  /// Attaches the device itself, or one of its PASIDs.
  /// - Parameters:
  ///   - target: An IOAS or a page table, and what keeps it alive while the device is attached.
  ///   - pasid: nil for the device itself.
  ///   - isReplacing: Whether another one is attached already.
  /// - Returns: The page table: that of the IOAS, which the kernel finds or makes.
  func attach(
    to target: IOMMUFDObjectID, keeping: any AnyObject & Sendable, pasid: PASID?, isReplacing: Bool
  ) throws(KernelError) -> IOMMUFDObjectID
  /// Detaches what is attached.
  func detach(pasid: PASID?) throws(KernelError)
}

/// A device that is bound to a context: what page tables are made for, and attached to.
///
/// Whoever binds it makes this: a `VFIODevice` in a mode of iommufd. It keeps the device bound.
public final class IOMMUFDDevice: Sendable {
  /// What the device itself (its RID) is attached to.
  public enum Attachment: Sendable {
    /// A page table that the kernel made for an address space.
    case addressSpace(IOAS, automatic: IOMMUFDObjectID)
    /// A page table of this process.
    case pageTable(HWPageTable)
  }

  struct State {
    var rid: Attachment?
    var pasids: [PASID: HWPageTable] = [:]
    var hardware: IOMMUHardwareInfo?
  }

  /// The context that it is bound to.
  public let context: IOMMUFDContext
  /// Its number there.
  public let id: IOMMUFDObjectID
  /// For messages: its PCI address.
  public let label: String
  private let calls: any IOMMUFDAttachmentCalls
  private let registration: ObjectRegistration
  let state: Mutex<State>

  /// Tells of a device that was bound, and attached to an address space.
  /// - Parameters:
  ///   - automatic: The page table that the attachment answered.
  ///   - calls: Keep the device bound.
  public init(
    _ id: IOMMUFDObjectID, label: String, attachedTo ioas: IOAS, automatic: IOMMUFDObjectID,
    calls: any IOMMUFDAttachmentCalls
  ) {
    context = ioas.context
    self.id = id
    self.label = label
    self.calls = calls
    let state = State(rid: .addressSpace(ioas, automatic: automatic))
    registration = ObjectRegistration(
      IOMMUFDObject(id: id, kind: .device, label: label, uses: Self.uses(state)), in: context.registry)
    self.state = Mutex(state)
  }

  /// What the device itself is attached to; nil while it is detached.
  public var attachment: Attachment? { state.withLock { $0.rid } }

  /// The PASIDs that are attached.
  public var attachedPASIDs: [PASID] { state.withLock { $0.pasids.keys.sorted() } }

  /// What its IOMMU says of itself.
  /// - Throws: `KernelError` for `IOMMU_GET_HW_INFO`; see ``IOMMUHardwareInfo/init(of:in:type:)``.
  public func hardwareInfo() throws(KernelError) -> IOMMUHardwareInfo {
    try IOMMUHardwareInfo(of: id, in: context)
  }

  /// Attaches the device itself to a page table, instead of what it is attached to.
  ///
  /// Its transfers go on meanwhile, by the old translation or the new one. Where PASIDs are attached, only a table that
  /// is compatible with them is taken.
  /// - Throws: `KernelError` for the attachment: `EINVAL` where the table and the device do not go together; `ENOENT` for a
  ///   closed table.
  public func attach(to table: HWPageTable) throws(KernelError) {
    precondition(table.context === context, "a device and its page table live in one context")
    try state.withLock { state throws(KernelError) in
      let isReplacing = state.rid != nil
      do throws(KernelError) {
        _ = try table.object.use("attach") { id throws(KernelError) in
          try calls.attach(to: IOMMUFDObjectID(id), keeping: table, pasid: nil, isReplacing: isReplacing)
        }
      } catch {
        throw error.errno == .invalidArgument && !state.pasids.isEmpty && !table.options.contains(.pasid)
          ? error.advising("PASIDs of the device are attached: use a table with the option pasid") : error
      }
      state.rid = .pageTable(table)
      registration.update(uses: Self.uses(state))
    }
  }

  /// Attaches the device itself to an address space: to a page table that the kernel finds or makes for it.
  /// - Throws: `KernelError` for the attachment; `EINVAL` while PASIDs are attached.
  public func attach(to ioas: IOAS) throws(KernelError) {
    precondition(ioas.context === context, "a device and its address space live in one context")
    try state.withLock { state throws(KernelError) in
      let table = try calls.attach(
        to: ioas.id, keeping: ioas, pasid: nil, isReplacing: state.rid != nil)
      state.rid = .addressSpace(ioas, automatic: table)
      registration.update(uses: Self.uses(state))
    }
    try ioas.refreshAllowedRanges()
  }

  /// Detaches the device itself: its transfers are blocked.
  /// - Throws: `KernelError` for the detachment.
  public func detach() throws(KernelError) {
    try state.withLock { state throws(KernelError) in
      guard state.rid != nil else { return }
      try calls.detach(pasid: nil)
      state.rid = nil
      registration.update(uses: Self.uses(state))
    }
  }

  static func uses(_ state: State) -> [IOMMUFDObject.Use] {
    var uses: [IOMMUFDObject.Use] = []
    switch state.rid {
    case .addressSpace(let ioas, let automatic):
      uses.append(.init(id: ioas.id, role: "RID, by automatic HWPT \(automatic)"))
    case .pageTable(let table): uses.append(.init(id: table.id, role: "RID"))
    case nil: break
    }
    for (pasid, table) in state.pasids.sorted(by: { $0.key < $1.key }) {
      uses.append(.init(id: table.id, role: "PASID \(pasid)"))
    }
    return uses
  }
}

extension IOMMUFDDevice {
  /// Changes what a PASID is attached to, under the device's lock.
  /// - Parameter table: nil detaches.
  func setPASID(
    _ pasid: PASID, to table: HWPageTable?, _ check: (borrowing State) throws(KernelError) -> Void
  ) throws(KernelError) {
    try state.withLock { state throws(KernelError) in
      try check(state)
      let isReplacing = state.pasids[pasid] != nil
      if let table {
        _ = try table.object.use("attach") { id throws(KernelError) in
          try calls.attach(to: IOMMUFDObjectID(id), keeping: table, pasid: pasid, isReplacing: isReplacing)
        }
      } else {
        try calls.detach(pasid: pasid)
      }
      state.pasids[pasid] = table
      registration.update(uses: Self.uses(state))
    }
  }
}
