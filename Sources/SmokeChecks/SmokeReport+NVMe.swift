// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DriverCore
internal import LinuxHandles
internal import NVMeDriver

extension SmokeReport {
  /// Checks what an NVMe controller does, with its driver.
  ///
  /// Nothing is written to a namespace.
  mutating func checkNVMe<Function: PCIFunction & ~Copyable>(
    _ function: consuming Function, patience: Duration
  ) {
    let start = ContinuousClock.now
    let driver: NVMeDriver<Function>
    do throws(NVMeError) {
      // A drive may take longer than a device without a medium.
      driver = try NVMeDriver(function, NVMeOptions(queuePairCount: 2, patience: max(patience, .seconds(10))))
    } catch {
      results.append(
        SmokeCheckResult(
          name: "NVMe controller", outcome: .fail("\(error)"), duration: start.duration(to: .now)))
      return
    }
    let controller = driver.controller
    check("NVMe controller") {
      let identity = controller.identity
      try require(!identity.serialNumber.isEmpty, "the serial number is empty")
      return "\(identity.model), serial number \(identity.serialNumber), \(controller.capabilities)"
    }
    var namespaces: [NVMeNamespace] = []
    check("NVMe namespaces") {
      for id in try controller.namespaceIDs() { namespaces.append(try controller.namespace(id)) }
      return namespaces.map { "\($0.id): \($0.blockCount) blocks of \($0.blockByteCount)" }
        .joined(separator: ", ")
    }
    check("NVMe health") {
      let health = try controller.health()
      try require(health.warnings == 0, "critical warnings \(hexadecimal(health.warnings))")
      return "\(Int(health.temperature) - 273) °C, \(health.usedPercent) % used"
    }
    guard let namespace = namespaces.first(where: { $0.metadataByteCount == 0 }) else { return }
    for (name, waiting) in [("polled", NVMeWaiting.polling), ("by MSI-X", .interrupts)] {
      check("NVMe reads, \(name)") { try readBothEnds(of: namespace, controller, waiting) }
    }
    check("NVMe reads in a batch of 32") { try readBatch(of: namespace, controller) }
    check("NVMe read beyond the end") { try readBeyondTheEnd(of: namespace, controller) }
    check("NVMe reset and back") {
      try controller.reset()
      return try readBothEnds(of: namespace, controller, .polling)
    }
    check("NVMe shutdown") {
      try controller.shutDown()
      return ""
    }
  }
}

/// Reads the first and the last 64 KiB twice, and expects the same bytes.
private func readBothEnds(
  of namespace: NVMeNamespace, _ controller: NVMeController, _ waiting: NVMeWaiting
) throws -> String {
  var queue = try controller.makeQueuePair(depth: 8, waiting: waiting)
  let count = Int(min(namespace.blockCount, UInt64(65536 >> namespace.blockShift)))
  let byteCount = count << namespace.blockShift
  let first = try controller.expose(UnsharedMemory(byteCount: byteCount), access: .readWrite)
  let second = try controller.expose(UnsharedMemory(byteCount: byteCount), access: .readWrite)
  for block in [0, namespace.blockCount - UInt64(count)] {
    // What was in the memory before is not taken for what was read.
    for place in stride(from: 0, to: byteCount, by: 8) { second.store(UInt64.max, at: place) }
    try queue.read(namespace, at: block, count: count, into: first)
    try queue.read(namespace, at: block, count: count, into: second)
    for place in stride(from: 0, to: byteCount, by: 8) {
      try require(
        first.load(UInt64.self, at: place) == second.load(UInt64.self, at: place),
        "byte \(place) from block \(block) on reads differently the second time")
    }
  }
  return "\(byteCount) bytes at both ends, twice"
}

private func readBatch(of namespace: NVMeNamespace, _ controller: NVMeController) throws -> String {
  let depth = 32
  var queue = try controller.makeQueuePair(depth: depth)
  let count = UInt32(max(1, 4096 >> namespace.blockShift))
  let byteCount = Int(count) << namespace.blockShift
  let memory = try controller.expose(UnsharedMemory(byteCount: depth * byteCount), access: .readWrite)
  var seen: Set<UInt64> = []
  var failure: NVMeStatus?
  for index in 0..<UInt64(depth) {
    let block = index * UInt64(count) % max(1, namespace.blockCount - UInt64(count))
    queue.submit(
      NVMeCommand(.read, namespaceID: namespace.id, block: block, count: count),
      moving: byteCount, at: memory.iova(at: Int(index) * byteCount), tag: index)
  }
  queue.ring()
  try queue.drain(until: Deadline(.seconds(20))) { completion in
    seen.insert(completion.tag)
    if !completion.status.isSuccess { failure = completion.status }
  }
  try require(failure == nil, "a read ended with \(failure.map { "\($0)" } ?? "")")
  try require(seen.count == depth, "\(seen.count) of \(depth) commands were completed")
  return "32 of 32, each once"
}

private func readBeyondTheEnd(of namespace: NVMeNamespace, _ controller: NVMeController) throws -> String {
  var queue = try controller.makeQueuePair(depth: 2)
  let memory = try controller.expose(UnsharedMemory(byteCount: 65536), access: .readWrite)
  queue.submit(
    NVMeCommand(.read, namespaceID: namespace.id, block: namespace.blockCount, count: 1),
    moving: namespace.blockByteCount, at: memory.iova)
  queue.ring()
  var status = NVMeStatus.success
  try queue.drain(until: Deadline(.seconds(20))) { status = $0.status }
  try require(status.reason == .rangeBeyondNamespace, "ended with \(status)")
  return "\(status)"
}
