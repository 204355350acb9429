// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// The address spaces that devices may reach some memory through: where to look for who holds a share of it.
///
/// The one that was given a share last is known without a lock.
@safe
struct ExposureTableList: ~Copyable, @unchecked Sendable {
  struct Member {
    let table: ExposureTable
    let label: String
  }
  /// Of `members`, which holds it.
  private let latest = unsafe Atomic<UnsafeRawPointer?>(nil)
  private let members = Mutex<[Member]>([])

  /// Remembers an address space.
  @inline(__always)
  borrowing func note(_ table: ExposureTable, of space: any AddressSpace) {
    let pointer = unsafe UnsafeRawPointer(Unmanaged.passUnretained(table).toOpaque())
    if unsafe latest.load(ordering: .relaxed) == pointer { return }
    unsafe note(pointer, table, space.label)
  }

  @inline(never)
  private borrowing func note(_ pointer: UnsafeRawPointer, _ table: ExposureTable, _ label: String) {
    members.withLock { members in
      unsafe latest.store(pointer, ordering: .relaxed)
      if members.contains(where: { $0.table === table }) { return }
      // A closed one is nobody's latest any more: its address may be another one's from now on.
      members.removeAll { $0.table.isClosed }
      members.append(Member(table: table, label: label))
    }
  }

  /// All shares that exposures have of a ledger's pages, without one of them.
  borrowing func holders(
    of shares: PageShares, besides own: UInt32?, in ownTable: ExposureTable?
  ) -> [PageShares.NamedHolder] {
    let tables = members.withLock { $0 }
    return tables.flatMap { member in
      member.table.entries(of: shares, besides: member.table === ownTable ? own : nil).map { range, pages in
        PageShares.NamedHolder(label: "\(member.label), \(range)", pages: pages)
      }
    }
  }
}
