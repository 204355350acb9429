// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceSimulation
import DriverCore
import NVMeDriver
import PCIBus

/// A simulated controller with its address space.
struct NVMeModelStand {
  let model: NVMeModel
  let space = SimulatedAddressSpace()

  static var usualOptions: NVMeModelOptions {
    var options = NVMeModelOptions()
    options.namespaces = [
      .init(blockCount: 32768), .init(blockCount: 1024, blockShift: 12),
      .init(blockCount: 64, isActive: false),
    ]
    options.memoryBufferByteCount = 1 << 16
    return options
  }

  init(
    _ options: NVMeModelOptions = usualOptions, _ misbehaviour: NVMeMisbehaviour = .none
  ) throws {
    model = try NVMeModel(options, misbehaviour)
  }

  func function() throws -> SimulatedFunction { try SimulatedFunction(model, addressSpace: space) }

  func driver(
    _ options: NVMeOptions = NVMeOptions(queuePairCount: 2)
  ) throws -> NVMeDriver<SimulatedFunction> {
    try NVMeDriver(function(), options)
  }
}
