// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DriverCore
internal import EduDriver

extension SmokeReport {
  /// Checks what QEMU's edu device does, with its driver.
  mutating func checkEdu<Function: PCIFunction & ~Copyable>(
    _ function: consuming Function, patience: Duration
  ) {
    let kinds = InterruptKind.allCases.filter { function.resources.vectorCount(of: $0) > 0 }
    let space = function.addressSpace
    let start = ContinuousClock.now
    let driver: EduDriver<Function>
    do throws(DriverError) {
      driver = try EduDriver(function, patience: patience)
    } catch {
      results.append(
        SmokeCheckResult(
          name: "edu identification", outcome: .fail("\(error)"), duration: start.duration(to: .now)))
      return
    }
    check("edu identification") {
      let seen = driver.identification
      try require(seen == 0x0100_00ed, "\(hexadecimal(seen)), expected 0x010000ed")
      return hexadecimal(seen)
    }
    check("edu liveness") {
      for probe: UInt32 in [0, 0x1234_5678, 0xffff_ffff] {
        try require(driver.isAlive(probe), "\(hexadecimal(probe)) does not come back inverted")
      }
      return ""
    }
    for kind in [InterruptKind.msi, .intx] where kinds.contains(kind) {
      check("edu factorial by \(kind.rawValue)") {
        let seen = try driver.factorial(of: 12, by: kind)
        try require(seen == 479_001_600, "12! is \(seen), expected 479001600")
        return "12! = \(seen)"
      }
    }
    check("edu DMA to the device and back, polled") { try roundTrip(driver, seed: 0x5a, by: nil) }
    for kind in [InterruptKind.msi, .intx] where kinds.contains(kind) {
      check("edu DMA to the device and back by \(kind.rawValue)") {
        try roundTrip(driver, seed: UInt8(kind.rawValue.utf8.count), by: kind)
      }
    }
    check("edu DMA to an unmapped address") { try writeUnmapped(driver, space) }
    for kind in [InterruptKind.msi, .intx] where kinds.contains(kind) {
      check("edu count of \(kind.rawValue) interrupts") {
        let seen = try driver.raiseInterrupts(25, by: kind)
        try require(seen == 25, "\(seen) arrived of 25")
        return "25 of 25"
      }
    }
  }
}

private func roundTrip<Function: PCIFunction & ~Copyable>(
  _ driver: borrowing EduDriver<Function>, seed: UInt8, by kind: InterruptKind?
) throws -> String {
  let pattern = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) ^ seed }
  // SAFETY: the bytes of an array of bytes are initialised.
  try unsafe driver.copyToDevice(pattern.span.bytes, by: kind)
  // Another pattern in the driver's memory: what comes back must come from the device.
  var seen = pattern.map { ~$0 }
  var span = seen.mutableSpan
  var bytes = unsafe span.mutableBytes  // SAFETY: as above
  try driver.copyFromDevice(into: &bytes, by: kind)
  if let place = seen.indices.first(where: { seen[$0] != pattern[$0] }) {
    throw SmokeCheckEnd.failed(
      "byte \(place) of 4096 is \(hexadecimal(seen[place])), expected \(hexadecimal(pattern[place]))")
  }
  return "4096 bytes"
}

private func writeUnmapped<Function: PCIFunction & ~Copyable>(
  _ driver: borrowing EduDriver<Function>, _ space: any AddressSpace
) throws -> String {
  // The address is taken from memory that was just unmapped, so that it is known to lead nowhere.
  let memory = try space.expose(UnsharedMemory(byteCount: 4096), access: .write, addressBits: 28)
  let iova = memory.iova
  var page = try memory.reclaim()
  var bytes = page.bytes
  for place in 0..<64 { bytes.storeBytes(of: 0xa5, toByteOffset: place, as: UInt8.self) }
  try driver.transferToUnmapped(iova)
  for place in 0..<64 {
    // SAFETY: any byte is a UInt8.
    let seen = unsafe bytes.unsafeLoad(fromByteOffset: place, as: UInt8.self)
    try require(seen == 0xa5, "the device wrote to memory that was unmapped before")
  }
  return "blocked at \(iova); afterwards \(try roundTrip(driver, seed: 0x33, by: nil))"
}
