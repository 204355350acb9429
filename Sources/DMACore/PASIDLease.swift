// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import Synchronization

/// A PASID with one owner, who alone can free it: given back when this value goes.
///
/// While it is attached to a device it stays out all the same, until the last attachment ends.
public struct PASIDLease: ~Copyable, Sendable {
  /// Which one.
  public let pasid: PASID
  private let record: PASIDRecord

  init(_ record: PASIDRecord) {
    pasid = record.pasid
    self.record = record
  }

  /// Gives it back.
  /// - Throws: `KernelError`: `EBUSY` while it is attached: it goes back with the last attachment; of the source what the
  ///   kernel says.
  public consuming func free() throws(KernelError) { try record.free() }

  /// Says that it is in use by an attachment.
  package borrowing func use() -> PASIDUse { PASIDUse(record) }
}

/// The fact that a lease's PASID is attached somewhere.
package final class PASIDUse: Sendable {
  private let record: PASIDRecord

  init(_ record: PASIDRecord) {
    self.record = record
    record.attached()
  }

  deinit { record.detached() }
}
