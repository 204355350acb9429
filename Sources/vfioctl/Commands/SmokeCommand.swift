// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import DeviceSimulation
internal import DriverCore
internal import PCIBus
internal import SmokeChecks
internal import VFIO

/// The command `vfioctl smoke [BDF…|--simulated]`.
struct SmokeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "smoke", abstract: "Check that functions work from userspace, one row for each check.",
    discussion: """
      Any function: configuration space, bus master, BAR windows, DMA mappings, every kind of interrupt, reset. \
      Devices that a driver here knows (edu, NVMe): what the device itself does; a namespace of an NVMe controller \
      is only read. Of an unknown device only the first \
      and last word of each BAR are read, but even that and a reset may disturb it: check functions that nobody \
      uses. A function that is not bound to vfio-pci is bound for the time of the checks and restored.

      The status is 0 only if nothing failed.
      """)

  @Argument(
    help: "The functions' addresses; without any, all that are bound to VFIO drivers.",
    transform: parseAddress)
  var addresses: [PCIAddress] = []
  @Flag(help: "Check the simulated edu and NVMe of this program: needs no hardware and no rights.")
  var simulated = false
  @Option(
    help: ArgumentHelp(
      "The interface: \(SmokeMode.names); all runs every one that this kernel has. (default: the best)"),
    transform: SmokeMode.init(argument:))
  var mode: SmokeMode = .preferred
  @Option(
    help: "Break the simulated device, to see that the checks can fail: \(EduMisbehaviour.names).",
    transform: EduMisbehaviour.parse)
  var misbehaviour: EduMisbehaviour = .none
  @Flag(help: "Bind even where that disturbs: network in use, boot display, other group members.")
  var force = false
  @Flag(help: "Expose memory, some of it twice, and print who holds what.")
  var shares = false
  @OptionGroup var output: OutputOptions

  func validate() throws {
    if simulated && !addresses.isEmpty {
      throw ValidationError("--simulated checks no function of this machine")
    }
    if !simulated && misbehaviour != .none {
      throw ValidationError("only the simulated device can be broken")
    }
  }

  func run() throws {
    try reportingFailures {
      var run = SmokeRun(output: output)
      if simulated {
        let model = EduModel(misbehaviour)
        let function = try SimulatedFunction(model)
        run.add(
          SmokeReport(
            checking: function, expecting: model.facts.identity.expected, showingShares: shares),
          "simulated edu", nil)
        // The one that is broken to order is edu.
        if misbehaviour == .none {
          let model = try NVMeModel()
          run.add(
            SmokeReport(checking: try SimulatedFunction(model), expecting: model.facts.identity.expected),
            "simulated NVMe", nil)
        }
      } else {
        for address in try functionsToCheck() { check(address, in: &run) }
      }
      try run.finish()
      if !run.isGood { throw ExitCode.failure }
    }
  }

  private func functionsToCheck() throws -> [PCIAddress] {
    guard addresses.isEmpty else { return addresses }
    let bound = try PCIBus().functions().filter(\.isBoundToVFIO).map(\.address)
    guard !bound.isEmpty else {
      throw CommandFailure(
        "nothing to check: no function is bound to vfio-pci; name one (vfioctl list), or use --simulated")
    }
    return bound
  }

  private func check(_ address: PCIAddress, in run: inout SmokeRun) {
    let name = address.description
    do {
      let bus = PCIBus()
      let wasBound = try bus.function(at: address).isBoundToVFIO
      if !wasBound { try DriverBinding().bind([address], force: force) }
      for mode in try mode.modes(for: bus.function(at: address)) {
        if let reason = self.mode.reasonToSkip(mode) {
          run.addSkipped(name, mode, reason)
          continue
        }
        do {
          let function = try bus.function(at: address)
          let device = try VFIODevice.open(address, mode: mode, on: bus)
          run.add(
            SmokeReport(checking: device, expecting: function.expected, showingShares: shares), name, mode)
        } catch {
          run.addFailed(name, mode, "open", "\(error)")
        }
      }
      if !wasBound { try DriverBinding().restore([address]) }
    } catch {
      run.addFailed(name, nil, "bind", "\(error)")
    }
  }
}

extension PCIFunctionInfo {
  /// What sysfs says, for comparison with configuration space as VFIO shows it.
  var expected: ExpectedIdentity {
    ExpectedIdentity(
      vendorID: vendorID, deviceID: deviceID, classCode: classCode.rawValue, revision: revision,
      subsystemVendorID: subsystemVendorID, subsystemID: subsystemDeviceID)
  }
}

extension DeviceIdentity {
  /// What the model says, for comparison with its configuration space.
  var expected: ExpectedIdentity {
    ExpectedIdentity(
      vendorID: vendorID, deviceID: deviceID, classCode: classCode, revision: revision,
      subsystemVendorID: subsystemVendorID, subsystemID: subsystemID)
  }
}

extension EduMisbehaviour {
  static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }

  static func parse(_ text: String) throws -> EduMisbehaviour {
    guard let misbehaviour = EduMisbehaviour(rawValue: text) else {
      throw ValidationError("'\(text)' is no misbehaviour; there are \(names)")
    }
    return misbehaviour
  }
}
