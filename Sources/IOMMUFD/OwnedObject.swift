// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// An object of a context with one owner: destroyed once, and not named to the kernel from then on.
///
/// The kernel gives its number to the next object at once, so no call may be under way with the number while it is
/// destroyed, nor begin after: a call takes part in a count, and the count closes.
final class OwnedObject: Sendable {
  let context: IOMMUFDContext
  let id: IOMMUFDObjectID
  private let kind: IOMMUFDObject.Kind
  private let registration: ObjectRegistration
  /// How many calls are under way; ``ended`` once it is destroyed.
  private let calls = Atomic<Int>(0)
  private static let ended = Int.min

  init(
    _ id: IOMMUFDObjectID, _ kind: IOMMUFDObject.Kind, _ label: String = "", uses: [IOMMUFDObject.Use],
    in context: IOMMUFDContext
  ) {
    self.context = context
    self.id = id
    self.kind = kind
    registration = ObjectRegistration(
      IOMMUFDObject(id: id, kind: kind, label: label, uses: uses), in: context.registry)
  }

  /// For messages.
  var subject: String { "\(kind.rawValue) \(id) (fd \(context.descriptor))" }

  /// Makes a call with the object's number.
  /// - Throws: What `body` throws; `ENOENT` for `operation` once the object is destroyed.
  func use<Value: ~Copyable>(
    _ operation: StaticString, _ body: (UInt32) throws(KernelError) -> Value
  ) throws(KernelError) -> Value {
    var count = calls.load(ordering: .relaxed)
    while true {
      guard count != Self.ended else { throw endedError("\(operation)") }
      let (exchanged, now) = calls.weakCompareExchange(
        expected: count, desired: count + 1, ordering: .acquiring)
      if exchanged { break }
      count = now
    }
    defer { calls.subtract(1, ordering: .releasing) }
    return try body(id.rawValue)
  }

  /// Destroys the object.
  /// - Throws: `KernelError` for `IOMMU_DESTROY`: `EBUSY` while others need it, naming those that this process knows,
  ///   or while a call with it is under way on another thread, and it lives on; `ENOENT` where it is destroyed.
  func destroy() throws(KernelError) {
    let (isAlone, count) = calls.compareExchange(
      expected: 0, desired: Self.ended, ordering: .acquiringAndReleasing)
    guard isAlone else {
      guard count != Self.ended else { throw endedError("IOMMU_DESTROY") }
      throw KernelError(
        operation: "IOMMU_DESTROY", errno: .resourceBusy, subject: subject,
        remedy: "another thread makes a call with it at this moment")
    }
    let fd = context.descriptor
    var isBusy = false
    do throws(KernelError) {
      try kernelRelease("IOMMU_DESTROY", on: subject) {
        let result = abi_iommu_destroy(fd, id.rawValue)
        isBusy = result == -Errno.resourceBusy.rawValue
        return result
      }
    } catch {
      guard isBusy else {
        registration.end()
        throw error.advisingOnIOMMUFD(since: "6.2")
      }
      calls.store(0, ordering: .releasing)
      let users = context.registry.users(of: id)
      throw error.advising(
        users.isEmpty
          ? "something uses it that this process did not make with this library"
          : "it is used by \(users.joined(separator: ", "))")
    }
    registration.end()
  }

  private func endedError(_ operation: String) -> KernelError {
    KernelError(
      operation: operation, errno: .noSuchFileOrDirectory, subject: subject,
      remedy: "it was closed; its number may be another object's by now")
  }

  /// Destroys the object where nobody can be told of a failure: in the owner's `deinit`, before what the object needs
  /// goes.
  func release() {
    guard calls.exchange(Self.ended, ordering: .acquiringAndReleasing) != Self.ended else { return }
    _ = abi_iommu_destroy(context.descriptor, id.rawValue)
    registration.end()
  }

  deinit { release() }
}
