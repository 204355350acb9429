// SPDX-License-Identifier: Apache-2.0
// Prints the objects of a live iommufd: as text, as a graph in the DOT language, and as a picture.
//
//   ObjectGraph                          two address spaces and a fault queue: no device is needed, only /dev/iommu
//   ObjectGraph 0000:00:02.0 …           devices that are bound to vfio-pci, each on a page table of its own
//   ObjectGraph --svg objects.svg …      draws them too, where graphviz is installed
import Glibc
import SwiftVFIO

@main
enum ObjectGraph {
  static func main() {
    var arguments = CommandLine.arguments.dropFirst()
    var picture: String?
    if arguments.first == "--svg" {
      picture = arguments.dropFirst().first
      arguments = arguments.dropFirst(2)
    }
    let addresses = arguments.compactMap { PCIAddress($0) }
    guard addresses.count == arguments.count else {
      print("usage: ObjectGraph [--svg FILE] [BDF…]")
      exit(2)
    }
    do {
      let graph = try graph(of: addresses)
      graph.lines().forEach { print($0) }
      print()
      graph.dotLines().forEach { print($0) }
      if let picture, !draw(graph, as: picture) {
        print("ObjectGraph: graphviz is not installed, so that there is no \(picture)")
      }
    } catch {
      print("ObjectGraph: \(error)")
      exit(1)
    }
  }

  /// Makes a context with objects in it, and looks at them while they live.
  private static func graph(of addresses: [PCIAddress]) throws -> IOMMUFDObjectGraph {
    let context = try IOMMUFDContext()
    let space = try IOAS(in: context)
    let faults = try FaultQueue(in: context)
    guard !addresses.isEmpty else {
      let second = try IOAS(in: context)
      return withExtendedLifetime((space, faults, second)) { context.objects }
    }
    let devices = try addresses.map { try AttachedDevice($0, in: space) }
    return withExtendedLifetime((faults, devices)) { context.objects }
  }

  /// Lets graphviz draw.
  /// - Returns: False where it is not installed, or fails.
  private static func draw(_ graph: IOMMUFDObjectGraph, as path: String) -> Bool {
    // By the environment, so that the shell reads nothing into the path.
    unsafe setenv("OBJECT_GRAPH_SVG", path, 1)
    let command = "command -v dot >/dev/null && exec dot -Tsvg -o \"$OBJECT_GRAPH_SVG\""
    signal(SIGPIPE, SIG_IGN)
    guard let dot = unsafe popen(command, "w") else { return false }
    for line in graph.dotLines() { unsafe fputs(line + "\n", dot) }
    return unsafe pclose(dot) == 0
  }
}

/// A device in an array, on a page table of its own.
private final class AttachedDevice {
  private let device: VFIODevice

  init(_ address: PCIAddress, in space: IOAS) throws {
    let bus = PCIBus()
    let device = try VFIODevice(bus.function(at: address), in: space, on: bus)
    if let bound = device.iommufdDevice { try device.attach(to: HWPageTable(of: space, for: bound)) }
    self.device = device
  }
}
