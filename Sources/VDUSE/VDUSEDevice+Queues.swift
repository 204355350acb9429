// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import SystemPackage

/// What the driver has made of a queue.
/// - Source: `struct vduse_vq_info`, include/uapi/linux/vduse.h, Linux 5.15.
public struct VDUSEQueueInfo: Hashable, Sendable {
  /// Its entries.
  public let size: Int
  /// Where the descriptors are.
  public let descriptors: IOVA
  /// Where the driver writes: the available ring of a split queue.
  public let driverArea: IOVA
  /// Where the device writes: the used ring of a split queue.
  public let deviceArea: IOVA
  /// Where to begin; what the driver set, and not what was done since.
  public let state: VDUSEQueueState
  /// Whether the queue may be used.
  public let isReady: Bool

  package init(
    size: Int, descriptors: IOVA, driverArea: IOVA, deviceArea: IOVA, state: VDUSEQueueState, isReady: Bool
  ) {
    self.size = size
    self.descriptors = descriptors
    self.driverArea = driverArea
    self.deviceArea = deviceArea
    self.state = state
    self.isReady = isReady
  }
}

/// How far a queue is.
/// - Source: `struct vduse_vq_state_split`, `struct vduse_vq_state_packed`, include/uapi/linux/vduse.h, Linux 5.15.
public struct VDUSEQueueState: Hashable, Sendable {
  /// The next entry to take: a free-running index of a split queue, one without the wrap counter of a packed one.
  public var availableIndex: UInt16
  /// Only of a packed queue.
  public var availableWrap: Bool
  /// Only of a packed queue: the next entry to give back.
  public var usedIndex: UInt16
  /// Only of a packed queue.
  public var usedWrap: Bool

  /// The state of a packed queue.
  public init(availableIndex: UInt16, availableWrap: Bool, usedIndex: UInt16, usedWrap: Bool) {
    self.availableIndex = availableIndex
    self.availableWrap = availableWrap
    self.usedIndex = usedIndex
    self.usedWrap = usedWrap
  }

  /// The state of a split queue.
  public init(availableIndex: UInt16) {
    self.init(availableIndex: availableIndex, availableWrap: false, usedIndex: 0, usedWrap: false)
  }
}

extension VDUSEDevice {
  /// Sets a queue up; all of them, before the device goes onto the vdpa bus.
  /// - Parameters:
  ///   - maximumSize: The most entries.
  ///   - group: 0 before API version 1.
  /// - Throws: `KernelError` for `VDUSE_VQ_SETUP`: `EINVAL` without such a queue or group, or once the driver is ready.
  public borrowing func setUpQueue(_ index: Int, maximumSize: Int, group: Int = 0) throws(KernelError) {
    var command = abi_vduse_vq_config()
    command.index = UInt32(clamping: index)
    command.max_size = UInt16(clamping: maximumSize)
    command.group = UInt32(clamping: group)
    let fd = descriptor.rawValue
    try deviceCall("VDUSE_VQ_SETUP", on: "queue \(index) of \(name)") {
      unsafe abi_vduse_vq_setup(fd, &command)
    }
  }

  /// How many queues it was made with.
  /// - Throws: `KernelError` for `VDUSE_VQ_GET_INFO`: `EPERM` for a device that is broken.
  public var queueCount: Int {
    get throws(KernelError) {
      var count = 0
      do throws(KernelError) {
        while true {
          _ = try queueInfo(count)
          count += 1
        }
      } catch {
        guard error.errno == .invalidArgument else { throw error }
        return count
      }
    }
  }

  /// What the driver has made of a queue.
  /// - Throws: `KernelError` for `VDUSE_VQ_GET_INFO`: `EINVAL` without such a queue, `EPERM` for a device that is broken.
  public borrowing func queueInfo(_ index: Int, isPacked: Bool = false) throws(KernelError) -> VDUSEQueueInfo
  {
    var info = abi_vduse_vq_info()
    info.index = UInt32(clamping: index)
    let fd = descriptor.rawValue
    try deviceCall("VDUSE_VQ_GET_INFO", on: "queue \(index) of \(name)") {
      unsafe abi_vduse_vq_get_info(fd, &info)
    }
    let state =
      isPacked
      ? VDUSEQueueState(
        availableIndex: info.packed.last_avail_idx, availableWrap: info.packed.last_avail_counter != 0,
        usedIndex: info.packed.last_used_idx, usedWrap: info.packed.last_used_counter != 0)
      : VDUSEQueueState(availableIndex: info.packed.last_avail_counter)
    return VDUSEQueueInfo(
      size: Int(info.num), descriptors: IOVA(info.desc_addr), driverArea: IOVA(info.driver_addr),
      deviceArea: IOVA(info.device_addr), state: state, isReady: info.ready != 0)
  }

  /// Says which counter the driver's kicks of a queue add to; the kernel keeps the counter until the next one, or a reset.
  ///
  /// Kicks from before are told at once only where there was no counter, so look into the ring afterwards.
  /// - Throws: `KernelError` for `VDUSE_VQ_SETUP_KICKFD`: `EINVAL` without such a queue, `EPERM` for a device that is broken.
  public borrowing func setKick(
    ofQueue index: Int, to event: borrowing OwnedDescriptor
  ) throws(KernelError) {
    let (fd, kick) = (descriptor.rawValue, event.rawValue)
    try deviceCall("VDUSE_VQ_SETUP_KICKFD", on: "queue \(index) of \(name)") {
      abi_vduse_vq_setup_kickfd(fd, UInt32(clamping: index), kick)
    }
  }

  /// Takes the counter of a queue's kicks away.
  /// - Throws: `KernelError` for `VDUSE_VQ_SETUP_KICKFD`.
  public borrowing func removeKick(ofQueue index: Int) throws(KernelError) {
    let fd = descriptor.rawValue
    try deviceCall("VDUSE_VQ_SETUP_KICKFD", on: "queue \(index) of \(name)") {
      abi_vduse_vq_setup_kickfd(fd, UInt32(clamping: index), ABI_VDUSE_EVENTFD_DEASSIGN)
    }
  }

  /// Tells the driver that something in a queue was used.
  /// - Throws: `KernelError` for `VDUSE_VQ_INJECT_IRQ`: `EINVAL` before the driver is ready, once the device is suspended,
  ///   or without such a queue.
  public borrowing func interruptQueue(_ index: Int) throws(KernelError) {
    let fd = descriptor.rawValue
    try deviceCall("VDUSE_VQ_INJECT_IRQ", on: "queue \(index) of \(name)") {
      abi_vduse_vq_inject_irq(fd, UInt32(truncatingIfNeeded: index))
    }
  }
}
