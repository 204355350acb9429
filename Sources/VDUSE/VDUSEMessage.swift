// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore

/// What the kernel asks of a device's server.
///
/// Each waits for a ``VDUSEResponse``: after 30 seconds without one the device is broken for good.
/// - Source: `struct vduse_dev_request`, include/uapi/linux/vduse.h, Linux 5.15.
public struct VDUSERequest: Hashable, Sendable {
  /// What is asked.
  public enum Subject: Hashable, Sendable {
    /// How far is this queue?
    case queueState(Int)
    /// The driver set this status; 0 is a reset.
    case status(VirtioStatus)
    /// What was mapped in this range of an address space is no longer so.
    case iotlb(IOVARange, addressSpace: Int)
    /// A group of queues goes to another address space.
    case groupAddressSpace(group: Int, addressSpace: Int)
    /// A queue becomes ready, or ceases to be.
    case queueReady(Int, Bool)
    /// Nothing more is to be done until a reset.
    case suspend
    /// Something that this library does not know, or that makes no sense.
    case unknown(type: UInt32)
  }

  /// The kernel's number of the request.
  public let id: UInt32
  /// What is asked.
  public let subject: Subject

  static let byteCount = MemoryLayout<abi_vduse_dev_request>.size

  /// Reads a request from the kernel's bytes; nil where they are not a whole one.
  package init?(_ bytes: ArraySlice<UInt8>, _ apiVersion: VDUSEAPIVersion) {
    guard bytes.count == Self.byteCount else { return nil }
    func word(_ index: Int) -> UInt32 {
      let start = bytes.startIndex + 4 * index
      return (0..<4).reduce(0) { $0 | UInt32(bytes[start + $1]) << (8 * UInt32($1)) }
    }
    func payload(_ index: Int) -> UInt32 { word(6 + index) }
    let type = word(0)
    id = word(1)
    switch CInt(bitPattern: type) {
    case ABI_VDUSE_GET_VQ_STATE: subject = .queueState(Int(payload(0)))
    case ABI_VDUSE_SET_STATUS:
      subject = .status(VirtioStatus(rawValue: UInt8(truncatingIfNeeded: payload(0))))
    case ABI_VDUSE_UPDATE_IOTLB:
      let start = UInt64(payload(0)) | UInt64(payload(1)) << 32
      let last = UInt64(payload(2)) | UInt64(payload(3)) << 32
      subject =
        start > last
        ? .unknown(type: type)
        : .iotlb(
          IOVARange(start: IOVA(start), last: IOVA(last)),
          addressSpace: apiVersion == .one ? Int(payload(4)) : 0)
    case ABI_VDUSE_SET_VQ_GROUP_ASID:
      subject = .groupAddressSpace(group: Int(payload(0)), addressSpace: Int(payload(1)))
    case ABI_VDUSE_SET_VQ_READY: subject = .queueReady(Int(payload(0)), payload(1) != 0)
    case ABI_VDUSE_SUSPEND: subject = .suspend
    default: subject = .unknown(type: type)
    }
  }
}

/// The answer to a ``VDUSERequest``.
/// - Source: `struct vduse_dev_response`, include/uapi/linux/vduse.h, Linux 5.15.
public struct VDUSEResponse: Hashable, Sendable {
  /// The number of the request.
  public let id: UInt32
  /// Whether it was done.
  public let isDone: Bool
  /// Which queue is how far, where that was asked.
  public let queueState: VDUSEQueueReport?

  /// Answers a request by its number.
  public init(to id: UInt32, isDone: Bool, queueState: VDUSEQueueReport? = nil) {
    self.id = id
    self.isDone = isDone
    self.queueState = queueState
  }

  package var bytes: [UInt8] {
    var raw = abi_vduse_dev_response()
    raw.request_id = id
    raw.result = UInt32(isDone ? ABI_VDUSE_REQ_RESULT_OK : ABI_VDUSE_REQ_RESULT_FAILED)
    var bytes = unsafe withUnsafeBytes(of: raw) { unsafe Array($0) }
    if let report = queueState {
      let start = bytes.count - MemoryLayout.size(ofValue: raw.padding)
      let state = report.raw
      bytes.replaceSubrange(
        start..<start + MemoryLayout<abi_vduse_vq_state>.size,
        with: unsafe withUnsafeBytes(of: state) { unsafe Array($0) })
    }
    return bytes
  }
}

/// How far one queue is, as an answer.
public struct VDUSEQueueReport: Hashable, Sendable {
  /// Which queue.
  public let queue: Int
  /// How far it is.
  public let state: VDUSEQueueState
  /// Whether it is a packed one.
  public let isPacked: Bool

  /// Reports on a queue.
  public init(queue: Int, state: VDUSEQueueState, isPacked: Bool = false) {
    self.queue = queue
    self.state = state
    self.isPacked = isPacked
  }

  fileprivate var raw: abi_vduse_vq_state {
    abi_vduse_vq_state(
      index: UInt32(clamping: queue),
      packed: isPacked
        ? abi_vduse_vq_state_packed(
          last_avail_counter: state.availableWrap ? 1 : 0, last_avail_idx: state.availableIndex,
          last_used_counter: state.usedWrap ? 1 : 0, last_used_idx: state.usedIndex)
        : abi_vduse_vq_state_packed(
          last_avail_counter: state.availableIndex, last_avail_idx: 0, last_used_counter: 0, last_used_idx: 0)
    )
  }
}

/// How far a driver is with its device.
/// - Source: Virtual I/O Device Specification 1.2, section 2.1, "Device Status Field".
public struct VirtioStatus: OptionSet, Hashable, Sendable {
  /// The specification's bits.
  public let rawValue: UInt8
  /// Creates a status from its bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// The driver has seen the device.
  public static let acknowledge = VirtioStatus(rawValue: 1)
  /// It knows how to drive it.
  public static let driver = VirtioStatus(rawValue: 2)
  /// It drives it.
  public static let driverOK = VirtioStatus(rawValue: 4)
  /// Features are chosen.
  public static let featuresOK = VirtioStatus(rawValue: 8)
  /// The device is in trouble.
  public static let needsReset = VirtioStatus(rawValue: 64)
  /// The driver has given up.
  public static let failed = VirtioStatus(rawValue: 128)
}
