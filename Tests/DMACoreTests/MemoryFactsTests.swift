// SPDX-License-Identifier: Apache-2.0
import DMACore
import Glibc
import LinuxHandles
import SystemPackage
import Testing

@Suite struct MemoryFactsTests {
  /// The kernel's own pages in every process are mapped like a BAR: `VM_IO | VM_PFNMAP`.
  @Test func aMappingWithoutPagesOfItsOwnIsDeviceMemory() throws {
    let line = try TextFile.contents(of: "/proc/self/maps").split(separator: "\n").first {
      $0.hasSuffix("[vvar]")
    }
    let bounds = try #require(line).split(separator: " ")[0].split(separator: "-").map {
      UInt($0, radix: 16) ?? 0
    }
    let base = unsafe UnsafeRawPointer(bitPattern: bounds[0])
    let bytes = unsafe UnsafeRawBufferPointer(start: base, count: Int(bounds[1] - bounds[0]))
    let facts = try unsafe MemoryFacts(of: bytes)
    #expect(facts.isDeviceMemory)
  }

  @Test func adoptedMemoryIsAskedWhatItIs() throws {
    let mapping = try MappedMemory.anonymous(byteCount: 8192)
    let memory = try UnsharedMemory(adopting: mapping)
    let facts = try memory.facts
    #expect(!facts.isDeviceMemory && facts.staysOverFork && facts.pageByteCount == 4096)
    #expect(memory.shares.pageCount == 2)
  }

  @Test func unmappedAddressesAreAnError() async {
    // In a process of its own: no other thread may map memory in the hole.
    await #expect(processExitsWith: .success) {
      let mapping = try unsafe MappedMemory.anonymous(byteCount: 16384).relinquish()
      guard unsafe munmap(mapping.baseAddress.unsafelyUnwrapped + 8192, 4096) == 0 else { exit(3) }
      do throws(KernelError) {
        _ = try unsafe MemoryFacts(of: UnsafeRawBufferPointer(mapping))
        exit(4)
      } catch {
        guard error.errno == .badAddress else { exit(5) }
      }
    }
  }
}
