// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import LinuxHandles
internal import Synchronization

/// What is mapped of a device's address spaces: each entry once, for all threads that serve queues.
///
/// Threads keep what they use in an ``IOTLBCache`` of their own, so that this is asked once for each entry.
public final class IOTLB: Sendable {
  /// Asks the kernel for the first entry that overlaps a range of an address space.
  public typealias Source = @Sendable (IOVARange, Int) throws(KernelError) -> IOTLBMapping?

  struct Table {
    var mappings: [IOTLBMapping] = []
    /// Counts what was forgotten: an answer of the kernel from before is not kept.
    var age = 0
  }

  private let source: Source
  private let table = Mutex(Table())

  /// Makes an empty one over a source of entries.
  public init(_ source: @escaping Source) { self.source = source }

  /// The entry with an address, mapped.
  /// - Returns: Nil where the address is not mapped.
  /// - Throws: `KernelError` as the source does.
  public func mapping(at address: IOVA, addressSpace: Int) throws(KernelError) -> IOTLBMapping? {
    let range = IOVARange(start: address, last: address)
    while true {
      let (found, age) = table.withLock { table in
        let found = table.mappings.first { $0.addressSpace == addressSpace && $0.entry.range.overlaps(range) }
        return (found, table.age)
      }
      if let found { return found }
      guard let made = try source(range, addressSpace) else { return nil }
      guard made.entry.range.overlaps(range) else { return nil }
      let kept = table.withLock { table -> IOTLBMapping? in
        if table.age != age { return nil }
        // Another thread may have been here first.
        if let other = table.mappings.first(where: {
          $0.addressSpace == addressSpace && $0.entry.range.overlaps(range)
        }) {
          return other
        }
        table.mappings.append(made)
        return made
      }
      if let kept { return kept }
    }
  }

  /// Forgets what overlaps a range; a mapping goes with the last cache that has it.
  public func forget(_ range: IOVARange, addressSpace: Int) {
    // They go after the lock: unmapping takes a while.
    let gone = table.withLock { table in
      table.age += 1
      let gone = table.mappings.filter { $0.addressSpace == addressSpace && $0.entry.range.overlaps(range) }
      table.mappings.removeAll { $0.addressSpace == addressSpace && $0.entry.range.overlaps(range) }
      return gone
    }
    _ = consume gone
  }

  /// Forgets everything.
  public func forgetAll() {
    let gone = table.withLock { table in
      table.age += 1
      defer { table.mappings = [] }
      return table.mappings
    }
    _ = consume gone
  }

  /// How many entries are mapped.
  public var count: Int { table.withLock { $0.mappings.count } }
}
