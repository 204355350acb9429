// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
public import PCIBus

/// A device written in software: what its registers do, without any idea of who reads them.
///
/// A host (``SimulatedFunction``, a vfio-user server) makes all calls, and never two of them at once: the
/// work that a model schedules through its port takes turns with register accesses and resets, and so does what
/// a thread of its own does in ``DevicePort/takeTurn(_:)``. A model may call its port from any of its members.
public protocol DeviceModel: AnyObject, Sendable {
  /// What the device is: identity, BARs, capabilities. Does not change.
  var facts: DeviceFacts { get }
  /// A part of a BAR that is memory, which a host may map for the driver; the same each time.
  ///
  /// A host that maps none calls the model for this part as for the others.
  func memory(in bar: PCIBAR.Index) -> DeviceBARMemory?
  /// Gives the model its way to memory and to interrupts; before any other call, and kept by the model.
  /// - Throws: `KernelError` for what the model needs to run, such as a thread of its own.
  func attach(to port: any DevicePort) throws(KernelError)
  /// Ends what ``attach(to:)`` began: the last call of this host. When it returns, no thread of the model is left.
  func detach()
  /// Reads a register.
  /// - Parameters:
  ///   - byteOffset: In the BAR; a multiple of `byteWidth`, inside the BAR.
  ///   - byteWidth: 1, 2, 4 or 8.
  /// - Returns: The value in the low bytes; all ones for what a device does not answer.
  func readRegister(_ bar: PCIBAR.Index, at byteOffset: Int, byteWidth: Int) -> UInt64
  /// Writes a register; parameters as in ``readRegister(_:at:byteWidth:)``.
  func writeRegister(_ value: UInt64, _ bar: PCIBAR.Index, at byteOffset: Int, byteWidth: Int)
  /// Puts all registers at their defaults. Scheduled work is gone already, and the interrupt line is low.
  func reset()
}

extension DeviceModel {
  /// Has none: every access is a call.
  public func memory(in bar: PCIBAR.Index) -> DeviceBARMemory? { nil }

  /// Has nothing to end.
  public func detach() {}
}
