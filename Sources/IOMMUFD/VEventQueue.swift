// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// Where a virtual IOMMU tells its events of one kind.
///
/// A full queue loses events and says so. All members may be called from any thread.
/// - Source: `struct iommu_veventq_alloc`, include/uapi/linux/iommufd.h, Linux 6.15.
public final class VEventQueue: Sendable {
  /// A vendor's kind of events.
  public struct Model: Hashable, Sendable {
    /// The kernel's number.
    public let rawValue: UInt32
    /// The length of an event in bytes, without its header.
    public let dataByteCount: Int

    /// Names a kind by the kernel's number.
    public init(rawValue: UInt32, dataByteCount: Int) {
      self.rawValue = rawValue
      self.dataByteCount = dataByteCount
    }

    /// Event records of Arm's SMMUv3.
    public static let armSMMUv3 = Model(
      rawValue: ABI_IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
      dataByteCount: MemoryLayout<abi_iommu_vevent_arm_smmuv3>.size)
    /// Errors of Tegra241's CMDQV.
    public static let tegra241CMDQV = Model(
      rawValue: ABI_IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
      dataByteCount: MemoryLayout<abi_iommu_vevent_tegra241_cmdqv>.size)
  }

  let object: OwnedObject
  private let file: QueueFile
  /// The virtual IOMMU.
  public let viommu: VIOMMU
  /// What kind of events it has.
  public let model: Model
  /// The number of the event that was read last; its lock keeps readers in order.
  private let sequence = Mutex(VirtualEvent.beforeFirst)

  /// Makes a queue.
  /// - Parameter depth: How many events it keeps; 1 to 2^19.
  /// - Throws: `KernelError` for `IOMMU_VEVENTQ_ALLOC`: `EINVAL` for another depth, `EEXIST` where the virtual IOMMU has a queue
  ///   of this kind, `EOPNOTSUPP` for a kind that it does not have; for `epoll_create1`, `eventfd`, `epoll_ctl`.
  public init(of viommu: VIOMMU, _ model: Model, depth: Int) throws(KernelError) {
    var command = abi_iommu_veventq_alloc()
    object = try viommu.object.use("IOMMU_VEVENTQ_ALLOC") { id throws(KernelError) in
      command.viommu_id = id
      command.type = model.rawValue
      command.veventq_depth = UInt32(clamping: depth)
      let fd = viommu.context.descriptor
      try iommufdCall("IOMMU_VEVENTQ_ALLOC", since: "6.15", on: "\(viommu.object.subject), depth \(depth)") {
        unsafe abi_iommu_veventq_alloc(fd, &command)
      }
      return OwnedObject(
        IOMMUFDObjectID(command.out_veventq_id), .veventQueue, "depth \(depth)",
        uses: [.init(id: IOMMUFDObjectID(id), role: "tells events of")], in: viommu.context)
    }
    file = try QueueFile(
      OwnedDescriptor(adopting: CInt(bitPattern: command.out_veventq_fd)),
      "vevent queue \(command.out_veventq_id)")
    self.viommu = viommu
    self.model = model
  }

  /// Its number.
  public var id: IOMMUFDObjectID { object.id }

  /// Takes the events that there are, without waiting.
  /// - Returns: Nil once the queue is closed.
  /// - Throws: `KernelError` for `read`: `EINVAL` for events that are longer than the kind says.
  public func read() throws(KernelError) -> [VirtualEvent]? {
    var buffer = [UInt8](repeating: 0, count: 64 * (VirtualEvent.headerByteCount + model.dataByteCount))
    return try sequence.withLock { sequence throws(KernelError) in
      guard let count = try file.read(into: &buffer) else { return nil }
      return VirtualEvent.events(
        in: buffer[..<count], dataByteCount: model.dataByteCount, after: &sequence)
    }
  }

  /// Takes the events that there are, and waits for the first one.
  /// - Returns: Nil once the queue is closed, also while this waits; empty when the time is over.
  /// - Throws: `KernelError` for `read` and `ppoll`.
  public func read(for limit: Duration) throws(KernelError) -> [VirtualEvent]? {
    try file.elements(for: limit) { () throws(KernelError) in try read() }
  }

  /// The events as they come, for `for try await`; it ends when the queue is closed.
  /// - Throws: `KernelError` for `dup` or `epoll_ctl`.
  public func events(on reactor: EventReactor) throws(KernelError) -> QueueElements<VirtualEvent> {
    QueueElements(try file.changes(on: reactor)) { () throws(KernelError) in try self.read() }
  }

  /// Closes the queue under its readers, and destroys it.
  /// - Throws: `KernelError` for `IOMMU_DESTROY`: `ENOENT` where it is closed already.
  public func close() throws(KernelError) {
    try file.close()
    try object.destroy()
  }

  // The kernel destroys no queue whose file is open, and no virtual IOMMU that has a queue.
  deinit {
    _ = try? file.close()
    object.release()
  }
}
