// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import DeviceRegisters
public import LinuxHandles
public import PCIBus

/// A PCI function that one driver owns: all that a driver may ask of it.
///
/// A real device behind VFIO and a simulated one conform alike, so a driver that imports DriverCore alone
/// runs on either. What a function hands out (windows, vectors, memory) keeps it alive.
public protocol PCIFunction: ~Copyable {
  /// Where it sits on the bus.
  var address: PCIAddress { get }
  /// What it has: facts that do not change while it is open.
  var resources: PCIFunctionResources { get }
  /// Its configuration space.
  var configuration: any ConfigurationSpace { get }
  /// What its bus addresses mean; memory for DMA is exposed here.
  var addressSpace: any AddressSpace { get }

  /// Opens a BAR as a register window.
  /// - Throws: `KernelError`: `ENXIO` where the function has no such BAR.
  borrowing func mapBAR(_ index: PCIBAR.Index) throws(KernelError) -> RegisterWindow

  /// Allows or forbids the function to start transfers of its own: DMA and message-signalled interrupts.
  /// It is forbidden when a function is opened and after ``reset()``.
  borrowing func setBusMaster(_ isEnabled: Bool) throws(KernelError)

  /// What its interrupts and events come from; for ``armInterrupts(_:count:)`` and ``events``.
  var interruptSource: any InterruptSource { get }

  /// Resets the function: registers at their defaults, bus master off, the device's causes of interrupts gone.
  /// Armed vectors stay armed.
  /// - Throws: `KernelError`: `EINVAL` where it cannot be reset; see ``PCIFunctionResources/isResettable``.
  borrowing func reset() throws(KernelError)
}

extension PCIFunction where Self: ~Copyable {
  /// What happens to the function as a whole: errors, and the kernel's wish to have it back.
  public var events: PCIFunctionEvents { interruptSource.events }

  /// Arms the first `count` vectors of a kind, at once.
  /// - Throws: `KernelError`: `EINVAL` where the function has fewer; `EBUSY` where interrupts are armed.
  public borrowing func armInterrupts(
    _ kind: InterruptKind, count: Int
  ) throws(KernelError) -> InterruptVectors {
    try InterruptVectors(arming: kind, 0..<max(count, 0), of: interruptSource)
  }

  /// Arms some vectors of a kind, which keep their numbers.
  ///
  /// More can be added later where ``InterruptFacts/isExtensible`` says so.
  /// - Parameter holes: Vectors of the range that stay silent.
  /// - Throws: `KernelError`: `EINVAL` where the function has fewer; `EBUSY` where interrupts are armed.
  public borrowing func armInterrupts(
    _ kind: InterruptKind, vectors: Range<Int>, except holes: Set<Int> = []
  ) throws(KernelError) -> InterruptVectors {
    try InterruptVectors(arming: kind, vectors, except: holes, of: interruptSource)
  }
}

/// The facts of an open function.
public struct PCIFunctionResources: Hashable, Sendable {
  /// The length of each BAR in bytes, by index; 0 where there is none, or where a BAR is the upper half of
  /// the one before it.
  public let barByteCounts: [Int]
  /// How many vectors there are of each kind.
  public let vectorCounts: [InterruptKind: Int]
  /// Whether ``PCIFunction/reset()`` can work.
  public let isResettable: Bool
  /// The NUMA node that it is near to, where memory for its DMA should come from; nil where the machine has
  /// no such difference.
  public let node: NUMANode?

  /// Puts the facts together.
  public init(
    barByteCounts: [Int], vectorCounts: [InterruptKind: Int], isResettable: Bool, node: NUMANode? = nil
  ) {
    self.barByteCounts = barByteCounts
    self.vectorCounts = vectorCounts
    self.isResettable = isResettable
    self.node = node
  }

  /// How many vectors of a kind the function has.
  public func vectorCount(of kind: InterruptKind) -> Int { vectorCounts[kind] ?? 0 }
}
