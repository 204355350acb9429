// SPDX-License-Identifier: Apache-2.0
import DMACore
import Foundation
import LinuxHandles
import SystemPackage
import TestSupport
import Testing

@Suite struct MemoryBackingTests {
  @Test(arguments: [0, -1, Int.min, Int.max, Int.max - 4096, 1 << 60], MemoryPageSize.cascade)
  func impossibleSizesAreErrors(_ byteCount: Int, _ size: MemoryPageSize) {
    let error = #expect(throws: KernelError.self) {
      _ = try UnsharedMemory(byteCount: byteCount, pageSize: size)
    }
    #expect(error.map { [.invalidArgument, .noMemory].contains($0.errno) } == true)
  }

  @Test(arguments: [MemoryBacking.Kind.anonymous, .file])
  func sizesAreRoundedUpToPages(_ kind: MemoryBacking.Kind) throws {
    var memory = try UnsharedMemory(byteCount: 4097, kind: kind)
    #expect(memory.byteCount == 8192)
    #expect(memory.backing.kind == kind && memory.backing.pageSize == .standard)
    var bytes = memory.bytes
    bytes.storeBytes(of: 7, toByteOffset: 8191, as: UInt8.self)
    let facts = try memory.facts
    #expect(facts.staysOverFork && facts.pageByteCount == 4096 && facts.residentByteCount >= 4096)
  }

  /// Reserved huge pages may be there or not; the cascade tells what it got, and gets something.
  @Test(arguments: [MemoryBacking.Kind.anonymous, .file])
  func theCascadeTellsWhatItGot(_ kind: MemoryBacking.Kind) throws {
    var memory = try UnsharedMemory(byteCount: 3 << 20, trying: MemoryPageSize.cascade, kind: kind)
    #expect(memory.backing.pageSize != .huge1GiB && memory.byteCount == 4 << 20)
    try memory.populate()
    let facts = try memory.facts
    #expect(facts.residentByteCount >= 4 << 20)
    if memory.backing.pageSize == .huge2MiB { #expect(facts.pageByteCount == 1 << 21) }
    let small = try UnsharedMemory(byteCount: 100, trying: MemoryPageSize.cascade, kind: kind)
    #expect(small.backing.pageSize == .standard && small.byteCount == 4096)
  }

  @Test func transparentHugePagesAreAlignedAndAskedFor() throws {
    var memory = try UnsharedMemory(byteCount: 1, pageSize: .transparent2MiB)
    #expect(memory.byteCount == 1 << 21)
    try memory.populate(threadCount: 4)
    var bytes = memory.bytes
    let address = unsafe bytes.withUnsafeMutableBytes { UInt(bitPattern: $0.baseAddress) }
    #expect(address % (1 << 21) == 0)
    let setting = try TextFile.contents(of: "/sys/kernel/mm/transparent_hugepage/enabled")
    if !setting.contains("[never]") { #expect(try memory.facts.transparentHugeByteCount >= 1 << 21) }
  }

  @Test func missingHugePagesAreToldWithTheRemedy() {
    let error = #expect(throws: KernelError.self) {
      _ = try UnsharedMemory(byteCount: 64 << 30, pageSize: .huge1GiB)
    }
    #expect(error?.errno == .noMemory && error?.remedy?.contains("hugepages-1048576kB") == true)
  }

  @Test func aMemoryFileCannotBeTruncated() throws {
    let memory = try UnsharedMemory(byteCount: 8192, kind: .file)
    let file = try #require(try descriptor(of: memory))
    let error = #expect(throws: Errno.self) { try FileDescriptor(rawValue: file).resize(to: 4096) }
    #expect(error == .notPermitted)
    try FileDescriptor(rawValue: file).close()
    #expect(try descriptor(of: UnsharedMemory(byteCount: 4096)) == nil)
  }

  private func descriptor(of memory: borrowing UnsharedMemory) throws -> CInt? {
    switch try memory.duplicateFile() {
    case .some(let file): file.relinquish()
    case .none: nil
    }
  }

  @Test func pagesLieOnTheirNode() throws {
    var memory = try UnsharedMemory(byteCount: 16 * 4096, on: NUMANode(number: 0))
    #expect(try memory.pageCountsByNode().isEmpty)
    try memory.populate()
    #expect(try memory.pageCountsByNode() == [NUMANode(number: 0): 16])
    #expect(try memory.node(ofPageAt: 4096) == NUMANode(number: 0))
  }

  @Test(arguments: [-1, NUMANode.count, 100_000]) func nodesThatAreNotThereAreErrors(_ number: Int) {
    let error = #expect(throws: KernelError.self) {
      _ = try UnsharedMemory(byteCount: 4096, on: NUMANode(number: number))
    }
    #expect(error?.operation == "mbind" && error?.errno == .invalidArgument)
  }

  @Test func populateKeepsContentAndTouchesAll() throws {
    var memory = try UnsharedMemory(byteCount: 5 << 20)
    var bytes = memory.bytes
    bytes.storeBytes(of: 0x1234_5678, toByteOffset: 3 << 20, as: UInt32.self)
    try memory.populate(threadCount: 3)
    let kept = unsafe memory.bytes.unsafeLoad(fromByteOffset: 3 << 20, as: UInt32.self)
    #expect(kept == 0x1234_5678)
    #expect(try memory.pageCountsByNode().values.reduce(0, +) == 5 << 8)
  }

  #if DEBUG
    /// In a process of its own: other tests make such memory meanwhile.
    @Test func failuresLeaveNoMapping() async {
      await #expect(processExitsWith: .success) {
        for kind in [MemoryBacking.Kind.anonymous, .file] {
          for size in [MemoryPageSize.standard, .transparent2MiB] {
            let failures = try faultSweep(concerning: { $0.contains("swift-vfio") }) { plan in
              try? FaultPlan.$current.withValue(plan) {
                var memory = try UnsharedMemory(
                  byteCount: 4096, pageSize: size, kind: kind, on: NUMANode(number: 0))
                try memory.populate()
              }
            }
            guard failures >= 4 else { exit(3) }
          }
        }
      }
    }
  #endif
}
