// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import DeviceSimulation
internal import DriverCore
internal import LinuxHandles
internal import NVMeDriver
internal import PCIBus
internal import VFIO

/// Which controller a command of `vfioctl nvme` is for.
struct NVMeTarget: ParsableArguments {
  @Argument(help: "The function's address.", transform: parseAddress)
  var address: PCIAddress?
  @Flag(help: "Use a simulated controller of this program with 64 MiB: needs no hardware and no rights.")
  var simulated = false
  @Option(help: "The namespace.")
  var namespace: UInt32 = 1

  func validate() throws {
    guard simulated == (address == nil) else {
      throw ValidationError("name a function (vfioctl list), or use --simulated")
    }
  }

  /// Brings the controller up for the time of `body`, and shuts it down.
  ///
  /// A function that is not bound to vfio-pci is bound meanwhile and restored.
  func withController(
    _ options: NVMeOptions = NVMeOptions(), _ body: (NVMeController) throws -> Void
  ) throws {
    guard let address else {
      var made = NVMeModelOptions()
      made.namespaces = [.init(blockCount: 1 << 17)]
      return try run(NVMeDriver(SimulatedFunction(NVMeModel(made)), options), body)
    }
    let wasBound = try PCIBus().function(at: address).isBoundToVFIO
    if !wasBound { try DriverBinding().bind([address]) }
    var failure: (any Error)?
    do {
      try run(NVMeDriver(VFIODevice.open(address), options), body)
    } catch {
      failure = error
    }
    if !wasBound { try DriverBinding().restore([address]) }
    if let failure { throw failure }
  }

  private func run<Function: PCIFunction & ~Copyable>(
    _ driver: consuming NVMeDriver<Function>, _ body: (NVMeController) throws -> Void
  ) throws {
    try body(driver.controller)
    _ = try driver.relinquish()
  }
}

/// What a command that writes must know of the user.
struct NVMeConsent: ParsableArguments {
  @Flag(help: "Write to the namespace: what was there is gone. The controller's serial number is asked for.")
  var destructive = false

  /// Asks for the serial number on standard input.
  /// - Throws: `CommandFailure` for another answer.
  func require(for controller: NVMeController) throws {
    let identity = controller.identity
    guard destructive else {
      throw CommandFailure(
        "this writes to \(identity.model), \(identity.serialNumber): it takes --destructive")
    }
    StandardError.print(
      "This destroys data on \(identity.model). Type its serial number, \(identity.serialNumber), to go on:")
    guard readLine(strippingNewline: true) == identity.serialNumber else {
      throw CommandFailure("that is not the serial number; nothing was written")
    }
  }
}
