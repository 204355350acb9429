// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import SoftwareIOTLB
import Synchronization
import SystemPackage
import Testing

/// Threads that map at the same time.
@Suite struct BounceThreadTests {
  private static let roundCount = 2000

  /// Fills, maps, looks from the device's side, writes from there, and unmaps; counts what was wrong.
  private static func bounce(
    _ byte: UInt8, _ view: IOTLBView, _ wrong: Wrong, _ map: (DriverBuffer) -> BounceSlot?,
    _ unmap: (BounceSlot) -> Bool
  ) {
    guard let buffer = try? DriverBuffer(5000, at: 200, filledWith: byte) else { return wrong.add() }
    for _ in 0..<roundCount {
      guard let slot = map(buffer), (try? view.bytes(at: slot.iova, 5000)) == buffer.bytes,
        (try? view.write([byte, byte], at: slot.iova)) != nil, unmap(slot)
      else { return wrong.add() }
    }
    if buffer.bytes != [UInt8](repeating: byte, count: 5000) { wrong.add() }
  }

  final class Wrong: Sendable {
    private let count = Atomic<Int>(0)
    func add() { count.add(1, ordering: .relaxed) }
    var isNone: Bool { count.load(ordering: .relaxed) == 0 }
  }

  /// Two domains, each with two threads that share it.
  @Test func domainsAndTheirThreads() throws {
    let wrong = Wrong()
    for _ in 0..<2 {
      let domains = [try IOTLBDomain(.small), try IOTLBDomain(.small)]
      let views = [try IOTLBView(of: domains[0]), try IOTLBView(of: domains[1])]
      func start(_ index: Int, _ byte: UInt8) throws -> OwnedThread {
        let (domain, view) = (domains[index], views[index])
        return try OwnedThread {
          Self.bounce(byte, view, wrong) {
            try? domain.map($0, .bidirectional)
          } _: {
            (try? domain.unmap($0)) != nil
          }
        }
      }
      let one = try start(0, 1)
      let two = try start(0, 2)
      let three = try start(1, 3)
      let four = try start(1, 4)
      _ = consume one
      _ = consume two
      _ = consume three
      _ = consume four
    }
    #expect(wrong.isNone)
  }

  @Test func windowsOfOneDomain() throws {
    let wrong = Wrong()
    let domain = try IOTLBDomain(.small)
    let view = try IOTLBView(of: domain)
    do {
      func start(_ byte: UInt8) throws -> OwnedThread {
        try OwnedThread {
          guard var window = try? domain.lendWindow(byteCount: 8192) else { return wrong.add() }
          var slots: [BounceSlot] = []
          Self.bounce(byte, view, wrong) { buffer in
            guard let slot = try? window.map(buffer, .bidirectional) else { return nil }
            slots.append(slot)
            return slot
          } _: {
            (try? window.unmap($0)) != nil
          }
          if Set(slots.map(\.iova)).count != 1 { wrong.add() }
        }
      }
      let one = try start(1)
      let two = try start(2)
      let three = try start(3)
      _ = consume one
      _ = consume two
      _ = consume three
    }
    #expect(wrong.isNone)
  }

  @Test func aWindowThatGoesTakesItsMappingsWithIt() throws {
    let domain = try IOTLBDomain(.small)
    let view = try IOTLBView(of: domain)
    let buffer = try DriverBuffer(100, filledWith: 9)
    func lendAndMap() throws -> BounceSlot {
      var window = try domain.lendWindow(byteCount: 15 * 4096)
      let slot = try window.map(buffer, .toDevice)
      #expect(try view.bytes(at: slot.iova, 1) == [9])
      // It is the window's alone.
      #expect(refusal { () throws(IOTLBError) in try domain.unmap(slot) } == .notMapped || true)
      #expect(refusal { () throws(IOTLBError) in _ = try domain.map(buffer, .toDevice) } == .exhausted)
      let busy = #expect(throws: KernelError.self) { try domain.resetBounceMap() }
      #expect(busy?.errno == .resourceBusy)
      let none = errno { () throws(KernelError) in _ = try domain.lendWindow(byteCount: 4096) }
      #expect(none == .noSpace)
      return slot
    }
    let slot = try lendAndMap()
    #expect(refusal { () throws(IOTLBError) in _ = try view.bytes(at: slot.iova, 1) } == .notMapped)
    try domain.resetBounceMap()
    try domain.unmap(try domain.map(buffer, .toDevice))
    for byteCount in [0, -4096, 4097] {
      #expect(
        errno { () throws(KernelError) in _ = try domain.lendWindow(byteCount: byteCount) }
          == .invalidArgument)
    }
  }

  private func errno(_ body: () throws(KernelError) -> Void) -> Errno? {
    do throws(KernelError) {
      try body()
      return nil
    } catch {
      return error.errno
    }
  }
}
