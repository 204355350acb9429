// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

/// Where page tables tell the faults of their devices, and where these are answered.
///
/// A fault that nobody answers keeps its device waiting; detaching the device, or closing the queue, refuses what is
/// unanswered. All members may be called from any thread.
/// - Source: `struct iommu_fault_alloc`, include/uapi/linux/iommufd.h, Linux 6.11.
public final class FaultQueue: Sendable {
  let object: OwnedObject
  private let file: QueueFile

  /// Makes a queue.
  /// - Throws: `KernelError` for `IOMMU_FAULT_QUEUE_ALLOC`: `EMFILE` at the process's limit of descriptors; for
  ///   `epoll_create1`, `eventfd`, `epoll_ctl`.
  public init(in context: IOMMUFDContext) throws(KernelError) {
    var command = abi_iommu_fault_alloc()
    let fd = context.descriptor
    try iommufdCall("IOMMU_FAULT_QUEUE_ALLOC", since: "6.11") {
      unsafe abi_iommu_fault_queue_alloc(fd, &command)
    }
    object = OwnedObject(IOMMUFDObjectID(command.out_fault_id), .faultQueue, uses: [], in: context)
    file = try QueueFile(
      OwnedDescriptor(adopting: CInt(bitPattern: command.out_fault_fd)), "fault queue \(command.out_fault_id)"
    )
  }

  /// The context that it lives in.
  public var context: IOMMUFDContext { object.context }
  /// Its number.
  public var id: IOMMUFDObjectID { object.id }

  /// Takes the faults that there are, without waiting.
  /// - Returns: Nil once the queue is closed.
  /// - Throws: `KernelError` for `read`: `ENOMEM`, and the faults stay.
  public func read() throws(KernelError) -> [PageFaultGroup]? {
    var faultCount = 64
    while true {
      var buffer = [UInt8](repeating: 0, count: faultCount * PageFaultGroup.faultByteCount)
      do throws(KernelError) {
        return try file.read(into: &buffer).map { PageFaultGroup.groups(in: buffer[..<$0]) }
      } catch {
        // A group that does not fit is told in no other way. No device asks for more pages at a time than this.
        guard error.errno == .invalidArgument, faultCount < 1 << 16 else { throw error }
        faultCount *= 8
      }
    }
  }

  /// Takes the faults that there are, and waits for the first one.
  /// - Returns: Nil once the queue is closed, also while this waits; empty when the time is over.
  /// - Throws: `KernelError` for `read` and `ppoll`.
  public func read(for limit: Duration) throws(KernelError) -> [PageFaultGroup]? {
    try file.elements(for: limit) { () throws(KernelError) in try read() }
  }

  /// The faults as they come, for `for try await`; it ends when the queue is closed.
  /// - Throws: `KernelError` for `dup` or `epoll_ctl`.
  public func groups(on reactor: EventReactor) throws(KernelError) -> QueueElements<PageFaultGroup> {
    QueueElements(try file.changes(on: reactor)) { () throws(KernelError) in try self.read() }
  }

  /// Answers groups of faults, in order.
  /// - Returns: How many were answered, and why not all: `KernelError` for `write`: `EINVAL` for a cookie that no
  ///   unanswered group has; `ENOENT` once the queue is closed.
  public func respond(_ responses: [PageFaultResponse]) -> BatchOutcome {
    var handled = 0
    do throws(KernelError) {
      while handled < responses.count {
        let bytes = responses[handled...].flatMap { response in
          layoutBytes(
            of: abi_iommu_hwpt_page_response(cookie: response.cookie, code: response.outcome.rawValue))
        }
        guard let count = try file.write(bytes) else {
          throw KernelError(
            operation: "write", errno: .noSuchFileOrDirectory, subject: object.subject,
            remedy: "the queue is closed; what was unanswered is refused")
        }
        // The kernel tells why it stopped only for the first of a batch.
        handled += count / MemoryLayout<abi_iommu_hwpt_page_response>.size
      }
      return BatchOutcome(handledCount: handled, failure: nil)
    } catch {
      return BatchOutcome(
        handledCount: handled,
        failure: error.errno == .invalidArgument
          ? error.advising("no unanswered group has the cookie \(responses[handled].cookie)") : error)
    }
  }

  /// Closes the queue under its readers, refuses what is unanswered, and destroys it.
  /// - Throws: `KernelError` for `IOMMU_DESTROY`: `EBUSY` while page tables tell it their faults, and it stays open;
  ///   `ENOENT` where it is closed already.
  public func close() throws(KernelError) {
    let users = context.registry.users(of: id)
    guard users.isEmpty else {
      throw KernelError(
        operation: "IOMMU_DESTROY", errno: .resourceBusy, subject: object.subject,
        remedy: "it is used by \(users.joined(separator: ", "))")
    }
    try file.close()
    try object.destroy()
  }

  // The kernel destroys no queue whose file is open.
  deinit {
    _ = try? file.close()
    object.release()
  }
}
