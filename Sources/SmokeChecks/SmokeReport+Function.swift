// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DeviceRegisters
public import DriverCore
internal import LinuxHandles
internal import PCIBus
internal import SystemPackage

extension SmokeReport {
  /// Checks a function as a whole: what every function can do, then, where a driver of this package knows the
  /// device, what the device does.
  ///
  /// Of each BAR only the first and the last aligned 32-bit word are read. Even that can have an effect on a
  /// device where reading a register changes it (clear-on-read status): check functions that nobody uses.
  /// Bus master is switched on and off, and the function is reset where it can be. Nothing else is written
  /// to a device that no driver here knows.
  /// - Parameters:
  ///   - function: Freshly opened; consumed.
  ///   - identity: What it must be.
  ///   - patience: How long a known device may take for one operation.
  ///   - showingShares: Whether ``ledger`` is wanted.
  public init<Function: PCIFunction & ~Copyable>(
    checking function: consuming Function, expecting identity: ExpectedIdentity,
    patience: Duration = .seconds(1), showingShares: Bool = false
  ) {
    self.init(checkingOnly: function, expecting: identity)
    if showingShares { checkShares(in: function.addressSpace, "\(function.address)") }
    let names = (
      try? function.configuration.read(at: 0x00, width: .word),
      try? function.configuration.read(at: 0x02, width: .word)
    )
    let classCode = (try? function.configuration.classCode)?.rawValue
    if names == (0x1234, 0x11e8) {
      checkEdu(function, patience: patience)
    } else if classCode == 0x010802 {
      checkNVMe(function, patience: patience)
    }
  }

  /// Checks what every function can do, and leaves the function to the caller; see
  /// ``init(checking:expecting:patience:)``.
  public init<Function: PCIFunction & ~Copyable>(
    checkingOnly function: borrowing Function, expecting identity: ExpectedIdentity
  ) {
    let configuration = function.configuration
    let space = function.addressSpace
    let resources = function.resources
    check("configuration space") { try identity.compare(with: configuration) }
    check("bus master is off at first") {
      try requireBusMasterOff(configuration)
      return ""
    }
    for (index, byteCount) in resources.barByteCounts.enumerated() where byteCount > 0 {
      check("BAR\(index) window") { try readWindow(of: function, index, byteCount) }
    }
    check("DMA memory of 4 KiB") { try mapMemory(in: space, byteCount: 4096) }
    check("DMA memory of 2 MiB") { try mapMemory(in: space, byteCount: 1 << 21) }
    for kind in InterruptKind.allCases where resources.vectorCount(of: kind) > 0 {
      check("\(kind.rawValue) by software") {
        try triggerVectors(of: function, kind, count: min(resources.vectorCount(of: kind), 16))
      }
    }
    check("reset") { try reset(function) }
  }
}

extension SmokeReport {
  private mutating func checkShares(in space: any AddressSpace, _ name: String) {
    var ledger: ShareLedger?
    check("DMA share ledger") {
      let before = space.exposures.count
      let during = try ShareLedger.demonstration(in: [(name, space)])
      ledger = during
      let entries = during.spaces.flatMap(\.entries)
      let sharedCount = entries.count { $0.holders.count > 1 }
      try require(entries.count >= before + 9, "\(entries.count) entries for 9 and \(before) earlier ones")
      try require(sharedCount >= 4, "\(sharedCount) entries have several holders, expected 4")
      try require(space.exposures.count == before, "\(space.exposures.count - before) exposures are left")
      return "\(entries.count) entries, \(sharedCount) of them shared"
    }
    self.ledger = ledger
  }
}

private func requireBusMasterOff(_ configuration: any ConfigurationSpace) throws {
  let command = try configuration.read(at: 0x04, width: .word)
  try require(command & 4 == 0, "the command register is 0x\(String(command, radix: 16))")
}

private func readWindow<Function: PCIFunction & ~Copyable>(
  of function: borrowing Function, _ index: Int, _ byteCount: Int
) throws -> String {
  guard let bar = PCIBAR.Index(rawValue: index) else { throw SmokeCheckEnd.failed("there is no BAR\(index)") }
  let window = try function.mapBAR(bar)
  try require(window.byteCount == byteCount, "the window has \(window.byteCount) bytes, not \(byteCount)")
  try require(byteCount >= 4, "a BAR of \(byteCount) bytes")
  let first = window.load(UInt32.self, at: 0)
  let last = window.load(UInt32.self, at: byteCount / 4 * 4 - 4)
  if let fault = window.takeFault() { throw SmokeCheckEnd.failed("\(fault)") }
  let note = first == .max && last == .max ? " (all ones: nothing answers, or the device is asleep)" : ""
  return "\(byteCount) bytes, first word \(hexadecimal(first)), last \(hexadecimal(last))\(note)"
}

private func mapMemory(in space: any AddressSpace, byteCount: Int) throws -> String {
  let memory = try space.expose(UnsharedMemory(byteCount: byteCount), access: .readWrite)
  let iova = memory.iova
  for place in [0, byteCount - 8] {
    let value = 0x0123_4567_89ab_cdef ^ UInt64(place)
    memory.store(value, at: place)
    let seen = memory.load(UInt64.self, at: place)
    try require(seen == value, "byte \(place) reads back \(hexadecimal(seen)), not \(hexadecimal(value))")
  }
  _ = try memory.reclaim()
  // Only a free range can be taken again.
  _ = try space.expose(UnsharedMemory(byteCount: byteCount), access: .read, at: iova).reclaim()
  return "at \(iova)"
}

private func triggerVectors<Function: PCIFunction & ~Copyable>(
  of function: borrowing Function, _ kind: InterruptKind, count: Int
) throws -> String {
  let vectors = try function.armInterrupts(kind, count: count)
  for index in 0..<count {
    let vector = vectors.take(index)
    let early = try vector.poll()
    try require(early == 0, "vector \(index) counts \(early) before anything was sent")
    do throws(KernelError) {
      try vector.trigger()
    } catch {
      guard [.inappropriateIOCTLForDevice, .invalidArgument].contains(error.errno) else { throw error }
      throw SmokeCheckEnd.skipped("the kernel does not send it by software: \(error)")
    }
    let seen = try vector.poll()
    try require(seen == 1, "vector \(index) counts \(seen) after one interrupt")
  }
  return "\(count) vector\(count == 1 ? "" : "s")"
}

private func reset<Function: PCIFunction & ~Copyable>(_ function: borrowing Function) throws -> String {
  guard function.resources.isResettable else {
    throw SmokeCheckEnd.skipped("the function cannot be reset by itself")
  }
  try function.setBusMaster(true)
  let command = try function.configuration.read(at: 0x04, width: .word)
  try require(command & 4 != 0, "bus master cannot be switched on")
  try function.reset()
  try requireBusMasterOff(function.configuration)
  return "bus master is off again"
}
