// SPDX-License-Identifier: Apache-2.0
public import DMACore
internal import DeviceRegisters
public import LinuxHandles

/// Who holds which memory, in every address space of a list, at one moment.
public struct ShareLedger: Hashable, Sendable {
  /// What one address space has.
  public struct Space: Hashable, Sendable {
    /// Whose it is: a function's address, or what the caller calls it.
    public let name: String
    /// Its label, as the holders' names begin.
    public let label: String
    /// Its exposures, by address.
    public let entries: [ExposureListing]
  }

  /// The address spaces, in the caller's order.
  public let spaces: [Space]

  /// Notes what is exposed now.
  public init(of spaces: [(name: String, space: any AddressSpace)]) {
    self.spaces = spaces.map { Space(name: $0.name, label: $0.space.label, entries: $0.space.listing) }
  }

  /// Exposes a few memories in each address space, notes the ledgers, and takes everything back.
  ///
  /// What a driver has: a ring (4 KiB, coherent, both ways), a pool of small objects (16 KiB, read), and a buffer
  /// (64 KiB, streaming, written by the device) of which the next address space of the list reaches two parts.
  /// No device is told of it.
  /// - Parameter spaces: Where it is alone, one shares with itself and has two ranges of addresses for a part.
  /// - Throws: `KernelError` as `expose`, `share` and `reclaim` have it; nothing stays exposed.
  public static func demonstration(
    in spaces: [(name: String, space: any AddressSpace)]
  ) throws(KernelError) -> ShareLedger {
    var kept: [Demonstration] = []
    for (index, entry) in spaces.enumerated() {
      kept.append(try Demonstration(in: entry.space, peer: spaces[(index + 1) % spaces.count].space))
    }
    var seen: Set<ObjectIdentifier> = []
    let ledger = ShareLedger(of: spaces.filter { seen.insert(ObjectIdentifier($0.space)).inserted })
    for entry in kept { try entry.end() }
    return ledger
  }

  /// What is exposed for the demonstration, for one address space.
  private final class Demonstration {
    private var ring: DMAMemory?
    private var pool: DMAMemory?
    private var buffer: DMAMemory?
    private var parts: DMAShareSet?

    init(in space: any AddressSpace, peer: any AddressSpace) throws(KernelError) {
      ring = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite, sharing: .coherent)
      pool = try space.expose(UnsharedMemory(byteCount: 16384), access: .read, sharing: .coherent)
      let buffer = try space.expose(UnsharedMemory(byteCount: 65536), access: .write)
      parts = try buffer.share(
        with: peer, parts: [8192..<12288, 12288..<16384, 32768..<36864], access: .read)
      self.buffer = consume buffer
    }

    /// The peer first: memory that somebody holds is not given back.
    func end() throws(KernelError) {
      try parts.take()?.unshare()
      _ = try buffer.take()?.reclaim()
      _ = try pool.take()?.reclaim()
      _ = try ring.take()?.reclaim()
    }
  }
}
