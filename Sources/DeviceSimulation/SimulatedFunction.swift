// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import DeviceRegisters
public import DriverCore
public import LinuxHandles
public import PCIBus
internal import Synchronization
internal import SystemPackage

/// A PCI function whose device is a ``DeviceModel`` in this process: drivers run with no hardware and no root.
///
/// It behaves as VFIO does, with stricter memory (``SimulatedAddressSpace``, where no other is given): bus
/// master is off at first and gates transfers and messages; INTx is masked when it fires; a vector that is not
/// armed loses its interrupts; the MSI-X table reads as all ones. Armed vectors stay armed across a reset.
public struct SimulatedFunction: ~Copyable, PCIFunction {
  private let device: SimulatedDevice
  /// The device's time.
  public let clock: SimulatedClock
  /// What its bus addresses mean.
  public let addressSpace: any AddressSpace

  /// Plugs a model in.
  /// - Parameters:
  ///   - model: In one function at a time.
  ///   - address: Nil for 0000:00:04.0.
  ///   - addressSpace: Nil for one of its own.
  ///   - clock: Of this function alone; nil for one on which nothing takes time.
  /// - Throws: `KernelError` for what the clock's thread needs, or for `eventfd`.
  public init(
    _ model: any DeviceModel, at address: PCIAddress? = nil, addressSpace: SimulatedAddressSpace? = nil,
    clock: SimulatedClock? = nil
  ) throws(KernelError) {
    let space = addressSpace ?? SimulatedAddressSpace()
    try self.init(model, at: address, in: space, seeing: space, clock: clock)
  }

  /// Plugs a model in that transfers to and from the memory of any address space.
  /// - Parameters:
  ///   - model: In one function at a time.
  ///   - address: Nil for 0000:00:04.0.
  ///   - addressSpace: What the driver gets.
  ///   - view: The device's side of it.
  ///   - clock: Of this function alone; nil for one on which nothing takes time.
  /// - Throws: `KernelError` for what the clock's thread needs, or for `eventfd`.
  public init(
    _ model: any DeviceModel, at address: PCIAddress? = nil, in addressSpace: any AddressSpace,
    seeing view: any DeviceView, clock: SimulatedClock? = nil
  ) throws(KernelError) {
    guard let address = address ?? PCIAddress("0000:00:04.0") else {
      preconditionFailure("this is how a PCI address is written")
    }
    let clock = if let clock { clock } else { try SimulatedClock() }
    device = try SimulatedDevice(model, at: address, view: view, clock: clock)
    self.addressSpace = addressSpace
    self.clock = clock
  }

  /// Where it pretends to sit.
  public var address: PCIAddress { device.address }

  /// What the model has.
  public var resources: PCIFunctionResources {
    PCIFunctionResources(
      barByteCounts: device.facts.barByteCounts, vectorCounts: device.facts.vectorCounts,
      isResettable: device.facts.isResettable)
  }

  /// Its configuration space, with the write masks of a real one.
  public var configuration: any ConfigurationSpace { SimulatedConfiguration(device) }

  /// The address space with its list of faults.
  ///
  /// A function that was plugged into an address space of another kind has none.
  public var simulatedAddressSpace: SimulatedAddressSpace {
    guard let space = addressSpace as? SimulatedAddressSpace else {
      preconditionFailure("the function is in \(addressSpace.label), which is not simulated")
    }
    return space
  }

  /// Opens a BAR; every access is a call of the model, but for the part that the model has as memory.
  /// - Throws: `KernelError`: `ENXIO` without such a BAR; `ENODEV` after removal.
  public borrowing func mapBAR(_ index: PCIBAR.Index) throws(KernelError) -> RegisterWindow {
    try device.requirePresent("map BAR")
    let byteCounts = device.facts.barByteCounts
    guard byteCounts.indices.contains(index.rawValue), byteCounts[index.rawValue] > 0 else {
      throw KernelError(
        operation: "map BAR", errno: .noSuchAddressOrDevice, subject: "\(address) BAR\(index.rawValue)")
    }
    let byteCount = byteCounts[index.rawValue]
    let memory = device.memory(in: index)
    let backing = SimulatedBAR(device, index, keeping: memory)
    guard let memory else { return RegisterWindow(byteCount: byteCount, backing: backing) }
    // SAFETY: the backing keeps the memory.
    return unsafe RegisterWindow(
      byteCount: byteCount, mappedBase: memory.memory.baseAddress, mappedRange: memory.range, backing: backing
    )
  }

  /// Writes the command register's bus master bit.
  /// - Throws: `KernelError`: `ENODEV` after removal.
  public borrowing func setBusMaster(_ isEnabled: Bool) throws(KernelError) {
    try device.requirePresent("set bus master")
    device.port.configure { image in
      let others = image.commandRegister & ~ConfigurationImage.busMaster
      image.commandRegister = isEnabled ? others | ConfigurationImage.busMaster : others
    }
  }

  /// What its interrupts and events come from.
  public var interruptSource: any InterruptSource { device }

  /// Resets the model and the bus side; work on its way is dropped.
  /// - Throws: `KernelError`: `EINVAL` where the model cannot be reset; `ENODEV` after removal.
  public borrowing func reset() throws(KernelError) { try device.reset() }

  /// What the device is plugged into; stays with a test when a driver has taken the function.
  public var slot: SimulatedSlot { SimulatedSlot(device.port) }

  /// Pulls the device out; see ``SimulatedSlot/remove()``.
  public borrowing func remove() { slot.remove() }
}

/// The slot of a simulated function, from which its device can be pulled at any time and on any thread.
public final class SimulatedSlot: Sendable {
  private let port: SimulatedPort

  init(_ port: SimulatedPort) { self.port = port }

  /// Lets the kernel ask for the device, as before an unplugging: the driver may close it first.
  public func requestRemoval() { port.interrupts.report(.removalRequested) }

  /// Lets the bus report an uncorrectable error of the device.
  public func reportError() { port.interrupts.report(.error) }

  /// Pulls the device out: registers read as all ones, writes vanish, transfers and interrupts
  /// stop, and waits for them end.
  public func remove() { port.remove() }
}
