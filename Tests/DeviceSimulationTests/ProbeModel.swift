// SPDX-License-Identifier: Apache-2.0
import DeviceSimulation
import DriverCore
import LinuxHandles
import PCIBus
import Synchronization

/// A device through whose port a test acts; its one register, in BAR0, keeps what is written.
final class ProbeModel: DeviceModel {
  private let state = Mutex<(port: (any DevicePort)?, register: UInt64, resets: Int)>((nil, 0, 0))
  let capabilities: [DeviceCapability]

  init(_ capabilities: [DeviceCapability] = [.powerManagement, .msi(vectorCount: 4)]) {
    self.capabilities = capabilities
  }

  var facts: DeviceFacts {
    DeviceFacts(
      identity: DeviceIdentity(
        vendorID: 0x1af4, deviceID: 0x1234, classCode: 0x010802, revision: 3, subsystemVendorID: 0x1111,
        subsystemID: 0x2222),
      bars: [
        DeviceBAR(index: 0, byteCount: 4096), DeviceBAR(index: 2, byteCount: 1 << 33, kind: .memory64),
        DeviceBAR(index: 4, byteCount: 32, kind: .ports),
      ], capabilities: capabilities, interruptPin: 1)
  }
  var port: any DevicePort {
    guard let port = state.withLock({ $0.port }) else { preconditionFailure("plugged in") }
    return port
  }
  var register: UInt64 { state.withLock { $0.register } }
  var resetCount: Int { state.withLock { $0.resets } }

  func attach(to port: any DevicePort) { state.withLock { $0.port = port } }
  func readRegister(_ bar: PCIBAR.Index, at byteOffset: Int, byteWidth: Int) -> UInt64 { register }
  func writeRegister(_ value: UInt64, _ bar: PCIBAR.Index, at byteOffset: Int, byteWidth: Int) {
    state.withLock { $0.register = value }
  }
  func reset() {
    state.withLock { state in
      state.register = 0
      state.resets += 1
    }
  }
}

/// A function with bus master on, and the model in it.
struct Probe: ~Copyable {
  let model: ProbeModel
  let function: SimulatedFunction

  init(_ capabilities: [DeviceCapability] = [.powerManagement, .msi(vectorCount: 4)]) throws {
    let model = ProbeModel(capabilities)
    let function = try SimulatedFunction(model, clock: SimulatedClock(.manual))
    try function.setBusMaster(true)
    self.model = model
    self.function = function
  }

  var port: any DevicePort { model.port }
  var space: SimulatedAddressSpace { function.simulatedAddressSpace }
}
