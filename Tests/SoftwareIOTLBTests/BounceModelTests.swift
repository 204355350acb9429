// SPDX-License-Identifier: Apache-2.0
import DMACore
import SoftwareIOTLB
import TestSupport
import Testing

/// A window against a model that knows each byte of both sides.
@Suite struct BounceModelTests {
  /// A mapping as the model has it: what the driver has, and what the device has.
  private struct Mapping {
    let slot: BounceSlot
    let buffer: DriverBuffer
    var driver: [UInt8]
    var device: [UInt8]
  }

  #if DEBUG
    private static let stepCount = 3000
  #else
    private static let stepCount = 60_000
  #endif

  @Test(arguments: SeededNumbers.seeds("BOUNCE_SEED"))
  func agreesWithAModel(seed: UInt64) throws {
    var numbers = SeededNumbers(seed)
    let domain = try IOTLBDomain(.small)
    let view = try IOTLBView(of: domain)
    var window = try domain.lendWindow(byteCount: 10 * 4096)
    var mappings: [Mapping] = []
    for step in 0..<Self.stepCount {
      let comment: Comment = "seed \(seed), step \(step)"
      let index = mappings.isEmpty ? 0 : Int.random(in: 0..<mappings.count, using: &numbers)
      switch UInt8.random(in: 0..<8, using: &numbers) {
      case 0, 1: try map(&window, &mappings, &numbers, comment)
      case _ where mappings.isEmpty: continue
      case 2:
        let gone = mappings.remove(at: index)
        let expected = gone.slot.direction == .toDevice ? gone.driver : gone.device
        try window.unmap(gone.slot)
        try #require(gone.buffer.bytes == expected, comment)
        try #require(refusal { () throws(IOTLBError) in try window.unmap(gone.slot) } == .notMapped, comment)
      case 3: try sync(window, &mappings[index], &numbers, comment)
      case 4:
        let byte = UInt8.random(in: 1...255, using: &numbers)
        mappings[index].driver[0] = byte
        unsafe mappings[index].buffer.raw[0] = byte
      default: try transfer(view, &mappings[index], &numbers, comment)
      }
    }
    for mapping in mappings {
      try window.unmap(mapping.slot)
      try #require(
        mapping.buffer.bytes == (mapping.slot.direction == .toDevice ? mapping.driver : mapping.device))
    }
    // All pages are free again, and hold nothing.
    let all = try DriverBuffer(10 * 4096, filledWith: 1)
    try window.unmap(try window.map(all, .fromDevice))
    #expect(all.bytes == [UInt8](repeating: 0, count: 10 * 4096))
  }

  private func map(
    _ window: inout BounceWindow, _ mappings: inout [Mapping], _ numbers: inout SeededNumbers,
    _ comment: Comment
  ) throws {
    let byteCount = Int.random(in: 1...(Bool.random(using: &numbers) ? 300 : 9000), using: &numbers)
    let offset = Int.random(in: 0..<4096, using: &numbers)
    let direction = DMADirection.allCases[Int.random(in: 0..<3, using: &numbers)]
    let byte = UInt8.random(in: 1...255, using: &numbers)
    let buffer = try DriverBuffer(byteCount, at: offset, filledWith: byte)
    var made: BounceSlot?
    let code = refusal { () throws(IOTLBError) in made = try window.map(buffer, direction) }
    guard let slot = made else {
      try #require(code == .exhausted && !mappings.isEmpty, comment)
      return
    }
    try #require(mappings.allSatisfy { !pages($0.slot).overlaps(pages(slot)) }, comment)
    mappings.append(
      Mapping(
        slot: slot, buffer: buffer, driver: buffer.bytes,
        device: direction == .fromDevice ? [UInt8](repeating: 0, count: byteCount) : buffer.bytes))
  }

  private func sync(
    _ window: borrowing BounceWindow, _ mapping: inout Mapping, _ numbers: inout SeededNumbers,
    _ comment: Comment
  ) throws {
    let start = Int.random(in: 0..<mapping.slot.byteCount, using: &numbers)
    let bytes = start..<Int.random(in: start...mapping.slot.byteCount, using: &numbers)
    if Bool.random(using: &numbers) {
      try window.syncForDevice(mapping.slot, bytes)
      if mapping.slot.direction != .fromDevice { mapping.device[bytes] = mapping.driver[bytes] }
    } else {
      try window.syncForCPU(mapping.slot, bytes)
      if mapping.slot.direction != .toDevice { mapping.driver[bytes] = mapping.device[bytes] }
    }
    try #require(mapping.buffer.bytes == mapping.driver, comment)
  }

  private func transfer(
    _ view: IOTLBView, _ mapping: inout Mapping, _ numbers: inout SeededNumbers, _ comment: Comment
  ) throws {
    let start = Int.random(in: 0..<mapping.slot.byteCount, using: &numbers)
    let bytes = start..<Int.random(in: start + 1...mapping.slot.byteCount, using: &numbers)
    let iova = mapping.slot.iova.advanced(byByteCount: start)
    if Bool.random(using: &numbers) {
      let new = bytes.map { _ in UInt8.random(in: 0...255, using: &numbers) }
      let code = refusal { () throws(IOTLBError) in try view.write(new, at: iova) }
      try #require(code == (mapping.slot.direction == .toDevice ? .wrongDirection : nil), comment)
      if code == nil { mapping.device.replaceSubrange(bytes, with: new) }
    } else {
      var seen: [UInt8] = []
      let code = refusal { () throws(IOTLBError) in seen = try view.bytes(at: iova, bytes.count) }
      try #require(code == (mapping.slot.direction == .fromDevice ? .wrongDirection : nil), comment)
      if code == nil { try #require(seen == Array(mapping.device[bytes]), comment) }
    }
  }

  private func pages(_ slot: BounceSlot) -> ClosedRange<UInt64> {
    slot.iova.rawValue >> 12...(slot.iova.rawValue + UInt64(slot.byteCount) - 1) >> 12
  }
}
