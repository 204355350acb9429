// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxHandles
import SystemPackage
import Testing

@Suite struct MappedMemoryTests {
  @Test func anonymousMemoryIsZero() throws {
    let memory = try MappedMemory.anonymous(byteCount: 8192)
    let last = unsafe memory.baseAddress.load(fromByteOffset: 8191, as: UInt8.self)
    #expect(last == 0)
    #expect(memory.byteCount == 8192)
    try memory.unmap()
  }

  /// mincore answers ENOMEM for a page that is not mapped.
  @Test func deinitUnmaps() async {
    await #expect(processExitsWith: .success) {
      let address: UInt
      do {
        let memory = try MappedMemory.anonymous(byteCount: 4096)
        address = unsafe UInt(bitPattern: memory.baseAddress)
        ProcessFacts.require(isMapped(address), "not mapped")
      }
      ProcessFacts.require(!isMapped(address), "still mapped")
    }
  }

  @Test func relinquishedMemoryStays() throws {
    let bytes = unsafe try MappedMemory.anonymous(byteCount: 4096).relinquish()
    let address = UInt(bitPattern: bytes.baseAddress)
    #expect(isMapped(address))
    unsafe munmap(bytes.baseAddress, bytes.count)
  }

  @Test func aFileIsShared() throws {
    let file = ProcessFacts.temporaryFile()
    #expect(ftruncate(file.rawValue, 8192) == 0)
    let memory = try MappedMemory.sharing(file, offset: 4096, byteCount: 4096)
    unsafe memory.baseAddress.storeBytes(of: 0x5a, as: UInt8.self)
    var seen: [UInt8] = [0]
    var span = seen.mutableSpan
    var bytes = unsafe span.mutableBytes
    let count = try file.read(into: &bytes, atFileOffset: 4096)
    #expect(count == 1)
    #expect(seen == [0x5a])
  }

  @Test func refusalsNameThePlace() throws {
    let file = try OwnedDescriptor.open("/dev/null", for: .readWrite)
    do throws(KernelError) {
      _ = try MappedMemory.sharing(file, offset: 0, byteCount: 4096)
      Issue.record("/dev/null was mapped")
    } catch {
      #expect(error.operation == "mmap")
      #expect(error.errno == .operationNotSupportedByDevice)
    }
  }
}

private func isMapped(_ address: UInt) -> Bool {
  var residence: UInt8 = 0
  return unsafe mincore(UnsafeMutableRawPointer(bitPattern: address), 4096, &residence) == 0
}
