// SPDX-License-Identifier: Apache-2.0
import LinuxHandles
import TestSupport
import Testing

/// The instrument is checked as well: a check that finds nothing proves nothing.
@Suite struct LeakCheckTests {
  private let tree: FakeSysfs

  init() throws {
    tree = try FakeSysfs()
    try tree.write(String(repeating: "x", count: 4096), to: "leaked")
  }

  @Test func findsADescriptor() throws {
    let path = tree.absolute("leaked")
    let check = LeakCheck { $0 == path }
    let descriptor = try OwnedDescriptor.open(path, for: .read)
    let leak = #expect(throws: LeakCheck.Leak.self) { try check.verify() }
    #expect(leak?.description.contains("\(path) x1") == true)
    try descriptor.close()
    try check.verify()
  }

  @Test func findsAMapping() throws {
    let path = tree.absolute("leaked")
    let check = LeakCheck { $0 == path }
    let descriptor = try OwnedDescriptor.open(path, for: .read)
    let memory = try MappedMemory.sharing(descriptor, offset: 0, byteCount: 4096, writable: false)
    try descriptor.close()
    #expect(throws: LeakCheck.Leak.self) { try check.verify() }
    try memory.unmap()
    try check.verify()
  }
}
