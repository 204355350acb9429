// SPDX-License-Identifier: Apache-2.0
internal import CTwins
internal import DeviceRegisters
internal import LinuxHandles

/// What a guard costs an access that succeeds: the same loops over a guarded window, an unguarded one, and in C.
///
/// Each comparison prints one line in the order in which the profiler writes what it counted; see run.
@main
enum Main {
  private static let operations: UInt32 = 100_000
  private static let a = Register32(byteOffset: 0x00, access: .readWrite)
  private static let b = Register32(byteOffset: 0x24, access: .readWrite)

  static func main() throws {
    let guarded = try registers(guarded: true)
    let plain = try registers(guarded: false)
    let memory = try MappedMemory.anonymous(byteCount: 4096)
    let twin = unsafe twin_window(
      base: memory.baseAddress.assumingMemoryBound(to: UInt8.self), byte_count: 4096)
    compare("RegisterWindow, 1 write + 1 read") {
      windowOne(guarded, $0)
    } unguarded: {
      windowOne(plain, $0)
    } twin: {
      unsafe twin_registers_one(twin, $0)
    }
    let hot = try hotRegisters(guarded: true)
    let cold = try hotRegisters(guarded: false)
    compare("MappedWindow, 1 write + 1 read") {
      mappedOne(hot, $0)
    } unguarded: {
      mappedOne(cold, $0)
    } twin: {
      unsafe twin_registers_one(twin, $0)
    }
    precondition(guarded.takeFault() == nil && hot.takeFault() == nil)
  }

  /// Ordinary memory in the place of registers.
  private static func registers(guarded: Bool) throws -> RegisterWindow {
    let memory = try MappedMemory.anonymous(byteCount: 4096)
    var areas = AreaList()
    areas.append(
      guarded ? try MappedArea(guardedAt: 0, memory: memory) : MappedArea(byteOffset: 0, memory: memory))
    return DescriptorBacking(parent: Nobody(), descriptor: -1, fileOffset: 0, subject: "memory", areas: areas)
      .window(byteCount: 4096)
  }

  private static func hotRegisters(guarded: Bool) throws -> MappedWindow {
    guard case .mapped(let window) = try registers(guarded: guarded).mapped() else {
      fatalError("a window that is mapped as a whole has its form for a hot path")
    }
    return window
  }

  @inline(never)
  private static func windowOne(_ window: borrowing RegisterWindow, _ count: UInt32) -> UInt64 {
    var sum: UInt32 = 0
    var index: UInt32 = 0
    while index != count {
      window.write(index, to: a)
      sum &+= window.read(b)
      index &+= 1
    }
    return UInt64(sum)
  }

  @inline(never)
  private static func mappedOne(_ window: borrowing MappedWindow, _ count: UInt32) -> UInt64 {
    var sum: UInt32 = 0
    var index: UInt32 = 0
    while index != count {
      window.write(index, to: a)
      sum &+= window.read(b)
      index &+= 1
    }
    return UInt64(sum)
  }

  private static func compare(
    _ name: String, guarded: (UInt32) -> UInt64, unguarded: (UInt32) -> UInt64, twin: (UInt32) -> UInt64
  ) {
    let sums = [run(guarded), run(unguarded), run(twin)]
    precondition(sums.allSatisfy { $0 == sums[0] }, "\(name): the loops do different things, \(sums)")
    print(name, operations, separator: "\t")
  }

  private static func run(_ loop: (UInt32) -> UInt64) -> UInt64 {
    _ = loop(64)
    twin_measurement_begins()
    let sum = loop(operations)
    twin_measurement_ends()
    return sum
  }
}

private final class Nobody: Sendable {}
