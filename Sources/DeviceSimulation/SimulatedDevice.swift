// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DeviceRegisters
internal import DriverCore
internal import LinuxHandles
internal import PCIBus
internal import Synchronization
internal import SystemPackage

/// A model that is plugged in: what everything that a ``SimulatedFunction`` hands out keeps alive.
final class SimulatedDevice: Sendable {
  let address: PCIAddress
  let facts: DeviceFacts
  let port: SimulatedPort
  private let model: any DeviceModel

  init(
    _ model: any DeviceModel, at address: PCIAddress, view: any DeviceView, clock: SimulatedClock
  ) throws(KernelError) {
    self.model = model
    self.address = address
    facts = model.facts
    port = try SimulatedPort(facts, view: view, clock: clock)
    try model.attach(to: port)
  }

  // The model's threads and scheduled work hold the model, which holds the port and the clock: this ends the circle.
  deinit {
    model.detach()
    port.clock.stop()
  }

  func memory(in bar: PCIBAR.Index) -> DeviceBARMemory? { model.memory(in: bar) }

  func requirePresent(_ operation: String) throws(KernelError) {
    guard port.isRemoved else { return }
    throw KernelError(
      operation: operation, errno: .operationNotSupportedByDevice, subject: address.description)
  }

  private var isMemoryEnabled: Bool {
    port.configuration.withLock { $0.commandRegister & ConfigurationImage.memorySpace != 0 }
  }

  private func requireMemory(_ operation: String, _ bar: PCIBAR.Index) throws(KernelError) {
    guard isMemoryEnabled else {
      throw KernelError(
        operation: operation, errno: .ioError, subject: "\(address) BAR\(bar.rawValue)",
        remedy: "memory decoding is off in the command register")
    }
  }

  func load(_ bar: PCIBAR.Index, at byteOffset: Int, byteWidth: Int) throws(KernelError) -> UInt64 {
    if port.isRemoved || facts.isInVectorTable(bar: bar.rawValue, at: byteOffset) { return .max }
    try requireMemory("pread", bar)
    return port.inTurn { model.readRegister(bar, at: byteOffset, byteWidth: byteWidth) }
  }

  func store(_ value: UInt64, _ bar: PCIBAR.Index, at byteOffset: Int, byteWidth: Int) throws(KernelError) {
    if port.isRemoved || facts.isInVectorTable(bar: bar.rawValue, at: byteOffset) { return }
    try requireMemory("pwrite", bar)
    port.inTurn { model.writeRegister(value, bar, at: byteOffset, byteWidth: byteWidth) }
  }

  func reset() throws(KernelError) {
    try requirePresent("VFIO_DEVICE_RESET")
    guard facts.isResettable else {
      throw KernelError(
        operation: "VFIO_DEVICE_RESET", errno: .invalidArgument, subject: address.description)
    }
    port.inTurn {
      port.reset()
      model.reset()
    }
  }
}

extension SimulatedDevice: InterruptSource {
  var events: PCIFunctionEvents { port.interrupts.events }

  func facts(of kind: InterruptKind) -> InterruptFacts? { port.interrupts.facts(of: kind) }

  func arm(
    _ kind: InterruptKind, from start: Int, signalling events: [CInt?], adding isAdding: Bool
  ) throws(KernelError) {
    try requirePresent("VFIO_DEVICE_SET_IRQS")
    try port.interrupts.arm(kind, from: start, signalling: events, adding: isAdding)
    port.setMessages(kind, isEnabled: true)
  }

  func disarm(_ kind: InterruptKind) throws(KernelError) {
    port.setMessages(kind, isEnabled: false)
    port.interrupts.disarm(kind)
  }

  func trigger(_ kind: InterruptKind, _ vectors: Range<Int>) throws(KernelError) {
    try requirePresent("VFIO_DEVICE_SET_IRQS")
    try port.interrupts.trigger(kind, vectors)
  }

  func trigger(_ kind: InterruptKind, from start: Int, where chosen: [Bool]) throws(KernelError) {
    try requirePresent("VFIO_DEVICE_SET_IRQS")
    try port.interrupts.trigger(kind, chosen.indices.filter { chosen[$0] }.map { start + $0 })
  }

  func setMasked(_ isMasked: Bool, _ kind: InterruptKind, vector: Int) throws(KernelError) {
    try requirePresent("VFIO_DEVICE_SET_IRQS")
    try port.interrupts.setMasked(isMasked, kind, vector: vector)
  }

  func unmask(_ kind: InterruptKind, vector: Int, whenSignalled event: CInt?) throws(KernelError) {
    try requirePresent("VFIO_DEVICE_SET_IRQS")
    try port.interrupts.unmask(kind, whenSignalled: event)
  }
}

/// One BAR of a simulated device, as its windows see it.
final class SimulatedBAR: RegisterBacking {
  private let device: SimulatedDevice
  private let index: PCIBAR.Index
  /// What a window has mapped.
  private let memory: DeviceBARMemory?
  private let fault = FirstFault()

  init(_ device: SimulatedDevice, _ index: PCIBAR.Index, keeping memory: DeviceBARMemory?) {
    self.device = device
    self.index = index
    self.memory = memory
  }

  func load(at byteOffset: Int, byteWidth: Int) throws(KernelError) -> UInt64 {
    try device.load(index, at: byteOffset, byteWidth: byteWidth)
  }

  func store(_ value: UInt64, at byteOffset: Int, byteWidth: Int) throws(KernelError) {
    try device.store(value, index, at: byteOffset, byteWidth: byteWidth)
  }

  func takeFault() -> KernelError? { fault.take() }

  func recordFault(_ error: KernelError) { fault.record(error) }
}

/// The configuration space of a simulated device, as its driver sees it.
final class SimulatedConfiguration: ConfigurationSpace {
  private let device: SimulatedDevice

  init(_ device: SimulatedDevice) { self.device = device }

  var byteCount: Int { device.facts.configurationByteCount }

  private func check(_ operation: String, _ byteOffset: Int, _ width: ConfigurationWidth) throws(KernelError)
  {
    guard byteOffset >= 0, byteOffset <= byteCount - width.rawValue, byteOffset % width.rawValue == 0 else {
      throw KernelError(
        operation: operation, errno: .invalidArgument,
        subject: "\(device.address) configuration space at \(byteOffset)")
    }
  }

  func read(at byteOffset: Int, width: ConfigurationWidth) throws(KernelError) -> UInt32 {
    try check("pread", byteOffset, width)
    if device.port.isRemoved { return .max >> UInt32(32 - 8 * width.rawValue) }
    return device.port.configuration.withLock { $0.load(at: byteOffset, byteWidth: width.rawValue) }
  }

  func write(_ value: UInt32, at byteOffset: Int, width: ConfigurationWidth) throws(KernelError) {
    try check("pwrite", byteOffset, width)
    if device.port.isRemoved { return }
    let command = device.port.configure { image in
      image.store(value, at: byteOffset, byteWidth: width.rawValue)
      return image.commandRegister
    }
    device.port.interrupts.setLine(isEnabled: command & ConfigurationImage.interruptDisable == 0)
  }
}
