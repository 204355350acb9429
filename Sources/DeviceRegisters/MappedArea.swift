// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// One mapped part of a region.
public struct MappedArea: ~Copyable, Sendable {
  /// Its place in the region, in bytes.
  public let byteOffset: Int
  /// Declared before the mapping, so that it goes first: the addresses may be another mapping's right after.
  private let guarding: WindowGuard?
  /// The mapping.
  public let memory: MappedMemory

  /// Places a mapping in a region.
  public init(byteOffset: Int, memory: consuming MappedMemory) {
    self.byteOffset = byteOffset
    guarding = nil
    self.memory = memory
  }

  /// Places a mapping in a region, and guards it: accesses that the device does not answer end no process.
  /// - Throws: `KernelError`; see ``WindowGuard``.
  public init(guardedAt byteOffset: Int, memory: consuming MappedMemory) throws(KernelError) {
    self.byteOffset = byteOffset
    guarding = try WindowGuard(of: memory)
    self.memory = memory
  }

  /// The place in the region of an access that the device did not answer, or nil.
  ///
  /// What the guard replaced is mapped anew, so that the next access asks the device again. Where that fails,
  /// the same answer comes again.
  /// - Parameters:
  ///   - descriptor: The file that is mapped.
  ///   - fileOffset: Where the region begins in it, in bytes.
  borrowing func takeRevocation(_ descriptor: CInt, fileOffset: UInt64) -> Int? {
    guard let place = guarding?.take() else { return nil }
    do throws(KernelError) {
      try memory.map(descriptor, offset: fileOffset + UInt64(byteOffset))
    } catch {
      guarding?.putBack(place)
    }
    return byteOffset + place
  }
}
