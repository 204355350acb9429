// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceSimulation
import DriverCore
import NVMeDriver
import PCIBus
import Testing

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

  /// The same with a thread of the controller's own.
  static var pollingOptions: NVMeModelOptions {
    var options = usualOptions
    options.pollsDoorbells = true
    return options
  }

  /// One that takes its time and does not keep an order.
  static func slow(_ options: NVMeModelOptions) throws -> NVMeModelStand {
    var options = options
    options.latency = .microseconds(50)
    options.completesInReverse = true
    return try NVMeModelStand(options)
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

  /// What reads of one block throw on a controller that becomes bad after the queue was made, and how many resets it had
  /// by then; afterwards the queue works again, and nothing is left mapped.
  /// - Parameter count: How many reads; the first that fails is the last.
  func errorAndRecovery(
    _ misbehaviour: NVMeMisbehaviour, _ options: NVMeOptions, count: Int = 1
  ) throws -> (NVMeError?, resets: UInt64) {
    var failure: NVMeError?
    let resets: UInt64
    do {
      let driver = try driver(options)
      let namespace = try driver.controller.namespace(1)
      var queue = try driver.controller.makeQueuePair(depth: 4)
      let memory = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
      model.misbehaviour = misbehaviour
      do throws(NVMeError) {
        for _ in 0..<count { try queue.read(namespace, at: 0, count: 1, into: memory) }
      } catch {
        failure = error
      }
      model.misbehaviour = .none
      resets = model.counts.resets
      try queue.read(namespace, at: 1, count: 2, into: memory)
    }
    #expect(space.takeFaults().isEmpty)
    #expect(space.mappedRanges.isEmpty)
    return (failure, resets)
  }
}
