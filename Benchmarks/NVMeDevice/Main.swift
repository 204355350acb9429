// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import PCIBus

/// A controller through VFIO, driven by NVMeDriver and by the same accesses in C.
///
/// - `NVMeComparison open BDF...`: how long both take from nothing to their first completed read.
/// - `NVMeComparison read LABEL BDF BDF [KERNEL...]`: reads a second of both, on two equal functions in turns. KERNEL is
///   what the kernel's own driver reached, one for each workload.
///
/// Fails where a figure is beyond its limit.
@main
enum Main {
  static func main() {
    let arguments = CommandLine.arguments.dropFirst()
    do {
      switch arguments.first {
      case "open" where arguments.count > 1:
        let functions = arguments.dropFirst().compactMap { PCIAddress($0) }
        try bind(functions)
        var openings = Openings()
        for function in functions { try openings.run(on: function) }
        exit(openings.report() ? 0 : 1)
      case "read" where arguments.count > 3:
        let functions = arguments.dropFirst(2).prefix(2).compactMap { PCIAddress($0) }
        guard functions.count == 2 else { break }
        try bind(functions)
        var reads = Reads(
          label: arguments[2], kernel: arguments.dropFirst(4).map { Double($0) ?? 0 })
        for _ in 0..<5 { try reads.run(on: functions[0], functions[1]) }
        exit(reads.report() ? 0 : 1)
      default: break
      }
      print("usage: NVMeComparison open BDF... | read LABEL BDF BDF [KERNEL...]")
    } catch {
      print("NVMeComparison: \(error)")
    }
    exit(2)
  }

  private static func bind(_ functions: [PCIAddress]) throws {
    for function in functions where try !PCIBus().function(at: function).isBoundToVFIO {
      try DriverBinding().bind([function])
    }
  }
}
