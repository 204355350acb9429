// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import DMACore
internal import DeviceSimulation
internal import DriverCore
internal import PCIBus
internal import SmokeChecks
internal import VFIO

/// The command `vfioctl shares BDF…|--simulated`.
struct SharesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "shares",
    abstract: "Show the ledger of shared memory: which pages each device reaches, and who holds them.",
    discussion: """
      Opens the functions, exposes a ring, a pool and a buffer to each, lets the next function (or the same one, \
      if it is alone) reach two parts of the buffer, prints who holds what, and takes all back. The devices are \
      told nothing and move nothing. What other processes expose is theirs to tell: a driver prints the \
      `listing` of its own address space. A function that is not bound to vfio-pci is bound meanwhile and restored.
      """)

  @Argument(help: "The functions' addresses.", transform: parseAddress)
  var addresses: [PCIAddress] = []
  @Flag(help: "Use two simulated devices of this program: needs no hardware and no rights.")
  var simulated = false
  @Option(
    help: ArgumentHelp("The interface: \(VFIOMode.names). (default: the best)"),
    transform: VFIOMode.parse)
  var mode: VFIOMode?
  @Flag(help: "Bind even where that disturbs: network in use, boot display, other group members.")
  var force = false
  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard simulated == addresses.isEmpty else {
      throw ValidationError("name functions (vfioctl list), or use --simulated")
    }
    guard Set(addresses).count == addresses.count else {
      throw ValidationError("a function is named once")
    }
  }

  func run() throws {
    try reportingFailures {
      let records = ShareRecord.records(of: try simulated ? simulatedLedger() : ledger())
      if output.json { return try JSONOutput.print(records) }
      ShareRecord.table(of: records).forEach { print($0) }
    }
  }

  private func simulatedLedger() throws -> ShareLedger {
    let spaces = ["simulated 0", "simulated 1"].map { name in
      (name: name, space: SimulatedAddressSpace(label: "space of \(name)") as any AddressSpace)
    }
    return try ShareLedger.demonstration(in: spaces)
  }

  private func ledger() throws -> ShareLedger {
    let bus = PCIBus()
    let lent = try addresses.filter { try !bus.function(at: $0).isBoundToVFIO }
    if !lent.isEmpty { try DriverBinding().bind(lent, force: force) }
    let result = Result { try opened(on: bus) }
    if !lent.isEmpty { try DriverBinding().restore(lent) }
    return try result.get()
  }

  /// The devices are open as long as their address spaces are used.
  private func opened(on bus: PCIBus) throws -> ShareLedger {
    let devices = try addresses.map { OpenDevice(try VFIODevice.open($0, mode: mode, on: bus)) }
    let ledger = try ShareLedger.demonstration(in: devices.map { ($0.name, $0.space) })
    for device in devices { try device.close() }
    return ledger
  }
}

/// A device in an array.
private final class OpenDevice {
  let name: String
  let space: any AddressSpace
  private var device: VFIODevice?

  init(_ device: consuming VFIODevice) {
    name = "\(device.address)"
    space = device.addressSpace
    self.device = consume device
  }

  func close() throws { try device.take()?.close() }
}

extension VFIOMode {
  static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }

  static func parse(_ text: String) throws -> VFIOMode {
    guard let mode = VFIOMode(rawValue: text) else {
      throw ValidationError("'\(text)' is no mode; there are \(names)")
    }
    return mode
  }
}
