// SPDX-License-Identifier: Apache-2.0
// OpeningBenchmark BDF [ROUNDS]: from nothing to the first word of BAR0, by this library and by the same kernel calls in
// C, in turns. Fails where the median of the library's times is over 1.1 times the twin's. Closing is not counted.
import COpening
import DeviceRegisters
import Glibc
import LinuxHandles
import PCIBus
import VFIO

let arguments = CommandLine.arguments
guard arguments.count >= 2, let address = PCIAddress(arguments[1]) else {
  print("usage: OpeningBenchmark BDF [ROUNDS]")
  exit(2)
}
let rounds = arguments.count > 2 ? Int(arguments[2]) ?? 41 : 41
let limit = 1.1

func microseconds(_ duration: Duration) -> Double {
  let (seconds, attoseconds) = duration.components
  return Double(seconds) * 1e6 + Double(attoseconds) / 1e12
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

func timeOfLibrary(_ mode: VFIOMode) throws -> (Double, UInt32) {
  let start = ContinuousClock.now
  let device = try VFIODevice.open(address, mode: mode)
  let window = try device.mapBAR(.bar0)
  let word = window.load(UInt32.self, at: 0)
  let time = microseconds(start.duration(to: .now))
  // Nothing is closed before the clock was read.
  extendLifetime(window)
  extendLifetime(device)
  return (time, word)
}

func timeOfTwin(_ mode: VFIOMode) throws -> (Double, UInt32) {
  let name = "\(address)"
  var opening = unsafe copening()
  var word: UInt32 = 0
  let start = ContinuousClock.now
  let result =
    mode == .iommufd
    ? unsafe copening_iommufd(name, &opening, &word) : unsafe copening_type1v2(name, &opening, &word)
  let time = microseconds(start.duration(to: .now))
  unsafe copening_close(&opening)
  try kernelCall("twin", on: name) { result }
  return (time, word)
}

func measure(_ mode: VFIOMode) throws -> Bool {
  var library: [Double] = []
  var twin: [Double] = []
  for round in 0..<rounds + 2 {
    var (ours, theirs) = ((0.0, UInt32(0)), (0.0, UInt32(0)))
    if round % 2 == 0 {
      ours = try timeOfLibrary(mode)
      theirs = try timeOfTwin(mode)
    } else {
      theirs = try timeOfTwin(mode)
      ours = try timeOfLibrary(mode)
    }
    precondition(ours.1 == theirs.1, "both read the same word")
    // The first two rounds warm up.
    if round >= 2 {
      library.append(ours.0)
      twin.append(theirs.0)
    }
  }
  let ratio = median(library) / median(twin)
  let isGood = ratio <= limit
  print(
    "\(address) \(mode.rawValue): library \(Int(median(library))) us (fastest \(Int(library.min() ?? 0))), C "
      + "\(Int(median(twin))) us (fastest \(Int(twin.min() ?? 0))), ratio "
      + "\((ratio * 1000).rounded() / 1000), limit \(limit): \(isGood ? "ok" : "TOO SLOW")")
  return isGood
}

do {
  if try !PCIBus().function(at: address).isBoundToVFIO { try DriverBinding().bind([address]) }
  let results = try [VFIOMode.iommufd, .type1v2].map(measure)
  exit(results.allSatisfy { $0 } ? 0 : 1)
} catch {
  print("OpeningBenchmark: \(error)")
  exit(2)
}
