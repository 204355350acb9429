// SPDX-License-Identifier: Apache-2.0
import DMACore
import Glibc
import LinuxHandles
import Testing

/// A real fork: the child does not see the memory, and the parent's pages do not move.
@Suite(.serialized) struct MemoryForkTests {
  struct KernelRefused: Error {}
  typealias Fork = @convention(c) () -> pid_t

  /// Whether a child of this process sees a page, and whether the parent's page moves when it is written meanwhile.
  private func fork(over mapped: UInt) throws -> (childSees: Bool, pageMoves: Bool) {
    guard let address = unsafe UnsafeMutableRawPointer(bitPattern: mapped) else { throw KernelRefused() }
    // Swift hides fork, since a child may only make plain system calls. This one makes three.
    guard let symbol = unsafe dlsym(nil, "fork") else { throw KernelRefused() }
    let fork = unsafe unsafeBitCast(symbol, to: Fork.self)
    let before = try frame(of: mapped)
    let pid = fork()
    if pid == 0 {
      let isMapped = unsafe msync(address, 4096, CInt(MS_ASYNC)) == 0  // ENOMEM where nothing is
      usleep(300_000)
      _exit(isMapped ? 3 : 4)
    }
    try #require(pid > 0)
    // The child is still there: a page that it shared would be copied now.
    unsafe address.storeBytes(of: 0x77, as: UInt8.self)
    let after = try frame(of: mapped)
    var status: CInt = 0
    while unsafe waitpid(pid, &status, 0) < 0 && errno == EINTR {}
    return (status >> 8 & 0xff == 3, before != after)
  }

  /// The number of the physical page; 0 without the privilege to see it.
  private func frame(of address: UInt) throws -> UInt64 {
    let map = try OwnedDescriptor.open("/proc/self/pagemap", for: .read)
    var entry: [UInt64] = [0]
    let fd = map.rawValue
    guard unsafe pread(fd, &entry, 8, off_t(address / 4096 * 8)) == 8 else { throw KernelRefused() }
    return entry[0] & (1 << 55 - 1)
  }

  @Test(arguments: [MemoryBacking.Kind.anonymous, .file])
  func aChildDoesNotSeeIt(_ kind: MemoryBacking.Kind) throws {
    var memory = try UnsharedMemory(byteCount: 4096, kind: kind)
    try memory.populate()
    var bytes = memory.bytes
    let address = unsafe bytes.withUnsafeMutableBytes { UInt(bitPattern: $0.baseAddress) }
    let seen = try fork(over: address)
    #expect(!seen.childSees && !seen.pageMoves)
    _ = consume memory
  }

  /// The danger that the memory is kept from, to show that the test sees it.
  @Test func ordinaryMemoryMovesInTheParent() throws {
    let mapping = try MappedMemory.anonymous(byteCount: 4096)
    let address = unsafe UInt(bitPattern: mapping.baseAddress)
    unsafe mapping.baseAddress.storeBytes(of: 1, as: UInt8.self)
    let canSee = try frame(of: address) != 0
    let seen = try fork(over: address)
    #expect(seen.childSees && seen.pageMoves == canSee)
  }
}
