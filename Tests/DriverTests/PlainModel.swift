// SPDX-License-Identifier: Apache-2.0
import DeviceSimulation
import PCIBus

/// A device without any behaviour: registers read as zero; 64 MSI-X vectors.
final class PlainModel: DeviceModel {
  private let isResettable: Bool

  init(isResettable: Bool) { self.isResettable = isResettable }

  var facts: DeviceFacts {
    DeviceFacts(
      identity: DeviceIdentity(vendorID: 0x1af4, deviceID: 0x0005, classCode: 0xff0000),
      bars: [
        DeviceBAR(index: 0, byteCount: 4096, kind: .memory64),
        DeviceBAR(index: 4, byteCount: 32, kind: .ports),
      ],
      capabilities: [
        .powerManagement, .pciExpress,
        .msix(vectorCount: 64, tableBAR: 0, tableOffset: 0x800, pendingBAR: 0, pendingOffset: 0xf00),
      ], isResettable: isResettable)
  }
  func attach(to port: any DevicePort) {}
  func readRegister(_ bar: PCIBAR.Index, at byteOffset: Int, byteWidth: Int) -> UInt64 { 0 }
  func writeRegister(_ value: UInt64, _ bar: PCIBAR.Index, at byteOffset: Int, byteWidth: Int) {}
  func reset() {}
}
