// SPDX-License-Identifier: Apache-2.0
internal import CTwins
internal import DMACore
internal import DeviceRegisters
internal import LinuxHandles
internal import LoopMeasurement

/// The loops that must be as fast as C; `Benchmarks/run` counts their instructions.
@main
enum Main {
  /// What of Swift may cost more than C on a hot path; see Benchmarks/README.md.
  private static let limit = 1.05

  static func main() throws {
    try registers()
    try memory()
    try exposure()
    dirtyPages()
  }

  /// An operation is a page of the bitmap: 64 GiB have 16,777,216.
  private static func dirtyPages() {
    let (short, whole) = (sparseBitmap(1024), sparseBitmap(Measurement.operations))
    Measurement.count("DirtyBitmap, a page, 1 in 10,000 dirty", atMost: 1) { count in
      readDirtyRanges(count == Measurement.operations ? whole : short)
    }
  }

  private static func registers() throws {
    let registers = try PlainRegisters(byteCount: 4096)
    let twin = unsafe twin_window(
      base: registers.memory.baseAddress.assumingMemoryBound(to: UInt8.self), byte_count: 4096)
    guard case .mapped(let mapped) = registers.window().mapped() else {
      fatalError("a window that is mapped as a whole has its form for a hot path")
    }
    let window = registers.window()
    Measurement.compare("MappedWindow, 8 writes + 8 reads", .init(checked: limit, unchecked: limit)) {
      mappedEight(mapped, $0)
    } twin: {
      unsafe twin_registers_eight(twin, $0)
    } unchecked: {
      unsafe twin_registers_eight_unchecked(twin, $0)
    }
    Measurement.compare("MappedWindow, 1 write + 1 read", .init(checked: limit, unchecked: limit)) {
      mappedOne(mapped, $0)
    } twin: {
      unsafe twin_registers_one(twin, $0)
    } unchecked: {
      unsafe twin_registers_one_unchecked(twin, $0)
    }
    Measurement.compare("RegisterWindow, 8 writes + 8 reads", .init()) {
      windowEight(window, $0)
    } twin: {
      unsafe twin_registers_eight(twin, $0)
    } unchecked: {
      unsafe twin_registers_eight_unchecked(twin, $0)
    }
    Measurement.compare("RegisterWindow, 1 write + 1 read", .init()) {
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
    Measurement.compare("DMAMemory, 8 stores + 8 loads", .init(checked: limit, unchecked: limit)) {
      memoryEight(memory, $0)
    } twin: {
      unsafe twin_memory_eight(twin, $0)
    } unchecked: {
      unsafe twin_memory_eight_unchecked(twin, $0)
    }
    Measurement.compare("DMAMemory, ring entry", .init(checked: limit)) {
      memoryRing(memory, $0)
    } twin: {
      unsafe twin_memory_ring(twin, $0)
    } unchecked: {
      unsafe twin_memory_ring_unchecked(twin, $0)
    }
  }

  private static func exposure() throws {
    let space = PlainAddressSpace()
    for (name, byteCount) in [("4 KiB", 4096), ("2 MiB of 4 KiB pages", 1 << 21)] {
      var memory: UnsharedMemory? = try UnsharedMemory(byteCount: byteCount)
      Measurement.count("AddressSpace, expose and reclaim, \(name)", atMost: nil) {
        exposeAndReclaim(&memory, space, $0)
      }
    }
  }
}
