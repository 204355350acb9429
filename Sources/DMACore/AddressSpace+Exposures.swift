// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import SystemPackage

extension AddressSpace {
  /// What an address leads to: the memory, the place in it, and what devices may do there; nil for nothing.
  ///
  /// For fault reports and debugging: no load or store of memory asks it. The first look-up of an address space makes
  /// its index of all exposures; from then on one takes the same few steps with one exposure or a million.
  public func exposure(at iova: IOVA) -> ExposedRange? {
    reservations.exposures.exposure(at: iova)
  }

  /// All that devices of this address space reach, by address.
  ///
  /// It is true for one moment; other threads may go on.
  public var exposures: [ExposedRange] { reservations.exposures.all }

  /// Who holds what: the pages that devices of this address space reach, by address, each with everybody who
  /// holds a share of it, in other address spaces too.
  ///
  /// For debugging: it looks at the ledgers of all memory exposed here.
  public var listing: [ExposureListing] { exposures.flatMap(\.listing) }

  /// Takes all memory back from the devices of this address space at once.
  ///
  /// For a device that must be cut off whatever its driver still holds. The ledgers follow: no page is shared
  /// with this space afterwards. `DMAMemory` and `DMAShare` values stay valid for their owners, who reclaim or
  /// drop them as ever; until then nobody else gets their addresses, so that a late transfer hits nothing.
  /// Threads that expose or reclaim meanwhile wait.
  /// - Returns: How many bytes were mapped, as the kernel tells it; what is parked already is not of it.
  /// - Throws: `KernelError` for the first unmap call that failed. What could not be unmapped stays exposed.
  @discardableResult
  public func endAllExposures() throws(KernelError) -> UInt64 {
    let table = reservations.exposures
    table.gate.enterAlone()
    defer { table.gate.leaveAlone() }
    // Old kernels have no such call, and one that fails may have done a part: then each range is asked for.
    if case .some(.some(let byteCount)) = try? unmapAllPages() {
      for entry in table.reached { table.end(entry.slot) }
      return byteCount
    }
    var byteCount: UInt64 = 0
    var failure: KernelError?
    for (slot, range) in table.reached {
      do throws(KernelError) {
        try unmapPages(range)
        table.end(slot)
        byteCount += range.byteCountMinusOne + 1
      } catch {
        failure = failure ?? error
      }
    }
    if let failure { throw failure }
    return byteCount
  }

  /// Checks in advance that many mappings can be made.
  /// - Parameter count: How many: one for each exposure, and one for each run of parts that a share has.
  /// - Throws: `KernelError`: `ENOSPC` where fewer are left, with what is needed, used and the limit; else for
  ///   the question itself.
  public func checkMappingBudget(for count: Int) throws(KernelError) {
    var budget = try mappingBudget()
    do throws(MappingBudget.Shortage) {
      try budget.take(count)
    } catch {
      throw KernelError(
        operation: "count mappings", errno: .noSpace, subject: label, remedy: "\(error)")
    }
  }
}
