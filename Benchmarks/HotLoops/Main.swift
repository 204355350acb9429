// SPDX-License-Identifier: Apache-2.0
internal import CTwins
internal import DMACore
internal import DeviceRegisters
internal import LinuxHandles

/// The loops that must be as fast as C; `Benchmarks/run` counts their instructions.
@main
enum Main {
  /// What of Swift may cost more than C on a hot path; see Benchmarks/README.md.
  private static let limit = 1.05

  static func main() throws {
    try registers()
    try memory()
  }

  private static func registers() throws {
    let registers = try PlainRegisters(byteCount: 4096)
    let twin = unsafe twin_window(
      base: registers.memory.baseAddress.assumingMemoryBound(to: UInt8.self), byte_count: 4096)
    guard case .mapped(let mapped) = registers.window().mapped() else {
      fatalError("a window that is mapped as a whole has its form for a hot path")
    }
    let window = registers.window()
    Measurement.compare("MappedWindow, 8 writes + 8 reads", limit: limit, uncheckedLimit: limit) {
      mappedEight(mapped, $0)
    } twin: {
      unsafe twin_registers_eight(twin, $0)
    } unchecked: {
      unsafe twin_registers_eight_unchecked(twin, $0)
    }
    Measurement.compare("MappedWindow, 1 write + 1 read", limit: limit, uncheckedLimit: limit) {
      mappedOne(mapped, $0)
    } twin: {
      unsafe twin_registers_one(twin, $0)
    } unchecked: {
      unsafe twin_registers_one_unchecked(twin, $0)
    }
    Measurement.compare("RegisterWindow, 8 writes + 8 reads", limit: nil, uncheckedLimit: nil) {
      windowEight(window, $0)
    } twin: {
      unsafe twin_registers_eight(twin, $0)
    } unchecked: {
      unsafe twin_registers_eight_unchecked(twin, $0)
    }
    Measurement.compare("RegisterWindow, 1 write + 1 read", limit: nil, uncheckedLimit: nil) {
      windowOne(window, $0)
    } twin: {
      unsafe twin_registers_one(twin, $0)
    } unchecked: {
      unsafe twin_registers_one_unchecked(twin, $0)
    }
  }

  private static func memory() throws {
    // The twins get memory of their own: a DMAMemory does not tell where it lies.
    let memory = try PlainAddressSpace().expose(UnsharedMemory(byteCount: 4096), access: .readWrite)
    let other = try MappedMemory.anonymous(byteCount: 4096)
    let twin = unsafe twin_memory(
      base: other.baseAddress.assumingMemoryBound(to: UInt8.self), byte_count: 4096)
    Measurement.compare("DMAMemory, 8 stores + 8 loads", limit: limit, uncheckedLimit: limit) {
      memoryEight(memory, $0)
    } twin: {
      unsafe twin_memory_eight(twin, $0)
    } unchecked: {
      unsafe twin_memory_eight_unchecked(twin, $0)
    }
    Measurement.compare("DMAMemory, ring entry", limit: limit, uncheckedLimit: nil) {
      memoryRing(memory, $0)
    } twin: {
      unsafe twin_memory_ring(twin, $0)
    } unchecked: {
      unsafe twin_memory_ring_unchecked(twin, $0)
    }
  }
}
