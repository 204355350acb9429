// SPDX-License-Identifier: Apache-2.0

/// What an ``NVMeModel`` is made of.
public struct NVMeModelOptions: Hashable, Sendable {
  /// One namespace.
  public struct Namespace: Hashable, Sendable {
    /// How many blocks it has.
    public var blockCount: UInt64
    /// The length of a block, as a power of two: 9 or 12.
    public var blockShift: Int
    /// Whether it is active.
    public var isActive: Bool
    /// A file that has its bytes, long enough; nil for memory.
    public var path: String?

    /// Describes a namespace.
    public init(blockCount: UInt64, blockShift: Int = 9, isActive: Bool = true, path: String? = nil) {
      precondition(blockShift == 9 || blockShift == 12, "blocks have 512 or 4096 bytes")
      self.blockCount = blockCount
      self.blockShift = blockShift
      self.isActive = isActive
      self.path = path
    }
  }

  /// The namespaces, from number 1 on.
  public var namespaces = [Namespace(blockCount: 16384)]
  /// How many I/O queue pairs and interrupt vectors for them there are; at most 63.
  public var queuePairCount = 8
  /// The longest queue.
  public var entryCount = 1024
  /// The longest transfer, as a power of two of pages of 4 KiB; 0 for no limit.
  public var transferShift = 5
  /// The same in bytes; the largest number for no limit.
  var longestTransfer: Int { transferShift == 0 ? .max : 4096 << transferShift }
  /// The controller's memory buffer in bytes: a power of two, or 0 for none.
  public var memoryBufferByteCount = 0
  /// Whether doorbells may lie in memory.
  public var hasDoorbellBuffer = true
  /// Whether SGL descriptors are understood.
  public var hasScatterGatherLists = true
  /// Whether the controller has a thread of its own, for as long as it is in a function.
  ///
  /// A driver's doorbells are plain stores to memory then, which the thread looks at again and again, more seldom where
  /// nothing comes for a millisecond. Doorbells that lie in the driver's memory are not offered.
  public var pollsDoorbells = false
  /// How long a command of an I/O queue takes, by the function's clock; zero for at once, on the thread that sees the
  /// doorbell.
  public var latency = Duration.zero
  /// Whether commands that were seen together are completed in reverse.
  public var completesInReverse = false

  /// The defaults: one namespace of 8 MiB in memory.
  public init() {}
}
