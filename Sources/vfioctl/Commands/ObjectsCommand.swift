// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import IOMMUFD
internal import LinuxHandles
internal import PCIBus
internal import VFIO

/// The command `vfioctl objects BDF…`.
struct ObjectsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "objects",
    abstract: "Show the objects of an iommufd: what a process makes of one, and what needs what.",
    discussion: """
      Opens the functions in one context and one address space, attaches each to a page table of its own, makes a \
      fault queue, prints what there is, and takes all back. What other processes have is theirs to tell: a driver \
      prints the `objects` of its own context. A function that is not bound to vfio-pci is bound meanwhile and \
      restored. --dot draws the objects: vfioctl objects 00:02.0 --dot | dot -Tsvg > objects.svg
      """)

  @Argument(help: "The functions' addresses.", transform: parseAddress)
  var addresses: [PCIAddress] = []
  @Flag(help: "Bind even where that disturbs: network in use, boot display, other group members.")
  var force = false
  @Flag(help: "Print a graph in the DOT language.")
  var dot = false
  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard !addresses.isEmpty else { throw ValidationError("name functions (vfioctl list)") }
    guard Set(addresses).count == addresses.count else {
      throw ValidationError("a function is named once")
    }
    guard !(dot && output.json) else { throw ValidationError("--dot or --json, not both") }
  }

  func run() throws {
    try reportingFailures {
      let bus = PCIBus()
      let lent = try addresses.filter { try !bus.function(at: $0).isBoundToVFIO }
      if !lent.isEmpty { try DriverBinding().bind(lent, force: force) }
      let result = Result { try demonstration(on: bus) }
      if !lent.isEmpty { try DriverBinding().restore(lent) }
      let graph = try result.get()
      if output.json { return try JSONOutput.print(graph.objects.map(ObjectRecord.init)) }
      (dot ? graph.dotLines() : graph.lines()).forEach { print($0) }
    }
  }

  private func demonstration(on bus: PCIBus) throws -> IOMMUFDObjectGraph {
    let space = try IOAS(in: IOMMUFDContext())
    let faults = try FaultQueue(in: space.context)
    let devices = try addresses.map { try AttachedDevice(bus.function(at: $0), in: space, on: bus) }
    return withExtendedLifetime((faults, devices)) { space.context.objects }
  }
}

/// A device in an array, on a page table of its own.
private final class AttachedDevice {
  private let device: VFIODevice

  init(_ function: PCIFunctionInfo, in space: IOAS, on bus: PCIBus) throws {
    let device = try VFIODevice(function, in: space, on: bus)
    if let bound = device.iommufdDevice { try device.attach(to: try HWPageTable(of: space, for: bound)) }
    self.device = device
  }
}

/// An object as `--json` prints it.
///
/// Its keys are an interface: they are added to, never renamed.
private struct ObjectRecord: Encodable {
  struct Use: Encodable {
    let id: UInt32
    let role: String
  }
  let id: UInt32
  let kind: String
  let label: String
  let uses: [Use]

  init(_ object: IOMMUFDObject) {
    id = object.id.rawValue
    kind = object.kind.rawValue
    label = object.label
    uses = object.uses.map { Use(id: $0.id.rawValue, role: $0.role) }
  }
}
