// SPDX-License-Identifier: Apache-2.0
import DMACore
import LinuxHandles
import Synchronization
import SystemPackage
import Testing

/// An address space whose devices see other addresses than it hands out.
private final class PhysicalSpace: AddressSpace {
  let label = "physical"
  let granuleByteCount = 4096
  let reservations = IOVAReservations(allowed: [IOVARange(start: IOVA(0), last: IOVA((1 << 40) - 1))])
  let answer: Result<IOVA, KernelError>
  let mapped = Mutex<[IOVARange]>([])

  init(_ answer: Result<IOVA, KernelError>) { self.answer = answer }

  @unsafe
  func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    mapped.withLock { $0.append(range) }
  }

  func unmapPages(_ range: IOVARange) throws(KernelError) {
    mapped.withLock { mapped in mapped.removeAll { $0 == range } }
  }

  func busAddress(of range: IOVARange) throws(KernelError) -> IOVA { try answer.get() }
}

/// Memory whose device address is known only once it is mapped.
@Suite struct PhysicalSpaceTests {
  @Test func theDeviceIsGivenTheBusAddress() throws {
    let space = PhysicalSpace(.success(IOVA(0x7_1234_5000)))
    let memory = try space.expose(UnsharedMemory(byteCount: 8192), access: .readWrite)
    #expect(memory.iova == IOVA(0x7_1234_5000) && memory.iova(at: 4097) == IOVA(0x7_1234_6001))
    let share = try memory.share(with: space, access: .read)
    #expect(share.iova == memory.iova)
    let parts = try memory.share(with: space, parts: [4096..<8192], access: .read)
    #expect(parts.iova(at: 4098) == IOVA(0x7_1234_5002) && parts.iova(at: 1) == nil)
    #expect(parts.runs.map(\.range) == [IOVARange(start: IOVA(0x7_1234_5000), last: IOVA(0x7_1234_5fff))])
    try parts.unshare()
    try share.unshare()
    _ = try memory.reclaim()
    #expect(space.mapped.withLock { $0.isEmpty })
  }

  @Test func whatTheDeviceCannotReachIsRefusedAndUnmapped() throws {
    let space = PhysicalSpace(.success(IOVA(0xffff_f000)))
    let error = #expect(throws: KernelError.self) {
      _ = try space.expose(UnsharedMemory(byteCount: 8192), access: .readWrite, addressBits: 32)
    }
    #expect(error?.errno == .invalidArgument && error?.remedy?.contains("32 address bits") == true)
    let chosen = #expect(throws: KernelError.self) {
      _ = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite, at: IOVA(0x1000))
    }
    #expect(chosen?.errno == .invalidArgument)
    #expect(space.mapped.withLock { $0.isEmpty })
    _ = try space.expose(UnsharedMemory(byteCount: 4096), access: .readWrite, addressBits: 32)
  }

  @Test func memoryInPiecesIsRefusedAndUnmapped() throws {
    let refusal = KernelError(operation: "expose", errno: .invalidArgument, subject: "pieces")
    let space = PhysicalSpace(.failure(refusal))
    let error = #expect(throws: KernelError.self) {
      _ = try space.expose(UnsharedMemory(byteCount: 8192), access: .readWrite)
    }
    #expect(error == refusal)
    #expect(space.mapped.withLock { $0.isEmpty })
  }
}
