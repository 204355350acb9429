// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// Registers that their owner gives to other processes, by whichever way the kernel offers.
///
/// Clients lose them when the kernel takes them away (reset, memory decode off, the device closed, the owner's
/// death). Letting go of this value ends brokered clients too; a mapped dma-buf lasts as long as the device.
public final class RegisterDelegation: Sendable {
  private enum Source {
    case mapped(DMABufHolder)
    case brokered(RegisterBroker)
  }
  private final class DMABufHolder: Sendable {
    let dmaBuf: DMABuf
    init(_ dmaBuf: consuming DMABuf) { self.dmaBuf = dmaBuf }
  }
  private let source: Source

  /// Delegates what a dma-buf stands for, to be mapped by each client.
  public init(_ dmaBuf: consuming DMABuf) { source = .mapped(DMABufHolder(dmaBuf)) }

  /// Delegates what a broker serves.
  public init(_ broker: RegisterBroker) { source = .brokered(broker) }

  /// Which way it is.
  public var mappability: DMABuf.Mappability {
    switch source {
    case .mapped: .mappable
    case .brokered: .brokerOnly
    }
  }

  /// Makes a grant for one more client.
  /// - Throws: `KernelError` for `dup`, `lseek`, `socketpair` or `pthread_create`.
  public func grant() throws(KernelError) -> RegisterGrant {
    switch source {
    case .mapped(let holder): RegisterGrant(try DMABuf(adopting: holder.dmaBuf.descriptor.duplicate()))
    case .brokered(let broker): try RegisterGrant(from: broker)
    }
  }
}
