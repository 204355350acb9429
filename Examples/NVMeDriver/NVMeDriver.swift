// SPDX-License-Identifier: Apache-2.0
public import DriverCore
internal import LinuxHandles

/// A driver for NVM Express controllers: the example to copy for a driver with queues.
///
/// It imports DriverCore and no backend, so the same code drives a real function through VFIO and a simulated one.
/// ```swift
/// let driver = try NVMeDriver(VFIODevice.open(address))
/// let namespace = try driver.controller.namespace(1)
/// var queue = try driver.controller.makeQueuePair(depth: 32)
/// try queue.read(namespace, at: 0, count: 8, into: memory)
/// ```
/// The function, the controller and its queue pairs keep each other's memory: whichever goes last, the controller is
/// reset before any of it is used again. Where that fails, the memory is left behind for good.
public struct NVMeDriver<Function: PCIFunction & ~Copyable>: ~Copyable {
  /// The controller, for all threads.
  public let controller: NVMeController
  private let function: Function

  /// Takes the function, and brings its controller up.
  /// - Parameters:
  ///   - function: Consumed; ``relinquish()`` gives it back.
  ///   - options: What is asked of the controller.
  /// - Throws: `NVMeError`: `.wrongDevice` for a controller without the NVM command set or with larger pages,
  ///   `.removed` where nothing answers, `.timedOut` or `.deviceFault` where it does not become ready, or what the
  ///   kernel says to windows, memory and interrupts.
  public init(_ function: consuming Function, _ options: NVMeOptions = NVMeOptions()) throws(NVMeError) {
    controller = try NVMeController(of: function, options)
    self.function = function
  }

  /// Shuts the controller down and gives the function back.
  ///
  /// Queue pairs that are left are of no use any more.
  public consuming func relinquish() throws(NVMeError) -> Function {
    try controller.shutDown()
    try NVMeError.wrappingKernel { () throws(KernelError) in try function.setBusMaster(false) }
    return function
  }

  /// Resets the whole function: the way out where ``NVMeController/reset()`` fails.
  ///
  /// Afterwards the controller is up again, without queues; see ``NVMeController/reset()``.
  public borrowing func resetFunction() throws(NVMeError) {
    try NVMeError.wrappingKernel { () throws(KernelError) in
      try function.reset()
      try function.setBusMaster(true)
    }
    try controller.functionWasReset()
  }
}
