// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import CVhostVDPA
import Foundation
import LinuxHandles
import Testing

/// A block driver in this process, through vhost-vdpa: its memory is known, so that a test sees and bends every byte.
final class VhostDisk {
  static let size = 8
  static let byteCount = 1 << 20
  /// Where the device sees the memory.
  static let start: UInt64 = 0x10_0000
  private static let available = 0x1000
  private static let used = 0x2000
  static let data = 0x4000

  let node: CInt
  let memory: MappedMemory
  private let space: UInt32
  private let kick: EventFD
  private let call: EventFD
  private var nextHead = 0

  /// Takes the device, and goes as far as to be ready.
  /// - Parameters:
  ///   - queue: The one that is used; its group has the same number where `space` is not 0.
  ///   - space: The address space that this group gets, and the memory is mapped in.
  init(servedAs name: String, queue: UInt32 = 0, space: UInt32 = 0) throws {
    self.space = space
    let folder = "/sys/bus/vdpa/devices/\(name)"
    let entries = try FileManager.default.contentsOfDirectory(atPath: folder)
    let vhost = try #require(entries.first { $0.hasPrefix("vhost-vdpa-") })
    kick = try EventFD()
    call = try EventFD()
    let file = unsafe abi_memory_file("vhost", 0, UInt64(Self.byteCount))
    try #require(file >= 0)
    memory = try MappedMemory.sharing(OwnedDescriptor(adopting: file), offset: 0, byteCount: Self.byteCount)
    node = unsafe vhost_vdpa_open("/dev/\(vhost)")
    try #require(node >= 0, "errno \(-node)")
    // No event index: plain flags are easier to bend.
    try check(vhost_vdpa_begin(node, 1 << 33 | 1 << 32 | 1 << 9))
    if space != 0 { try check(vhost_vdpa_set_group(node, queue, space)) }
    try map()
    try check(
      vhost_vdpa_set_queue(
        node, queue, UInt32(Self.size), Self.start, Self.start + UInt64(Self.available),
        Self.start + UInt64(Self.used),
        kick.descriptor.rawValue, call.descriptor.rawValue))
    try check(vhost_vdpa_enable_queue(node, queue, 1))
    try check(vhost_vdpa_set_status(node, 15))
  }
  deinit { if isOpen { Foundation.close(node) } }

  /// Lets go of the device, which stays on the bus as long as it is held.
  func close() {
    isOpen = false
    Foundation.close(node)
  }
  private var isOpen = true

  func check(_ result: CInt) throws { try #require(result >= 0, "errno \(-result)") }

  func map() throws {
    try check(unsafe vhost_vdpa_map(node, space, Self.start, UInt64(Self.byteCount), memory.baseAddress))
  }
  func unmap() throws { try check(vhost_vdpa_unmap(node, space, Self.start, UInt64(Self.byteCount))) }

  func load<T: BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T {
    unsafe memory.baseAddress.loadUnaligned(fromByteOffset: offset, as: type)
  }
  func store<T: BitwiseCopyable>(_ value: T, at offset: Int) {
    unsafe memory.baseAddress.storeBytes(of: value, toByteOffset: offset, as: T.self)
  }

  var usedIndex: UInt16 { load(UInt16.self, at: Self.used + 2) }
  var availableIndex: UInt16 { load(UInt16.self, at: Self.available + 2) }

  /// Makes a request of head, data and status available, and does not kick.
  /// - Returns: Its head.
  @discardableResult
  func offer(
    _ kind: UInt32, sector: UInt64, byteCount: Int, data: UInt64 = start + UInt64(data), isWritten: Bool
  ) -> UInt16 {
    let (head, status) = (0x3000, 0x3100)
    store(kind, at: head)
    store(UInt32(0), at: head + 4)
    store(sector, at: head + 8)
    store(UInt8(0xff), at: status)
    func describe(_ index: Int, _ address: UInt64, _ count: Int, _ flags: UInt16, _ next: Int) {
      store(address, at: index * 16)
      store(UInt32(count), at: index * 16 + 8)
      store(flags, at: index * 16 + 12)
      store(UInt16(next), at: index * 16 + 14)
    }
    let first = nextHead
    nextHead = nextHead == 0 ? 3 : 0
    describe(first, Self.start + UInt64(head), 16, 1, first + 1)
    describe(first + 1, data, byteCount, isWritten ? 3 : 1, first + 2)
    describe(first + 2, Self.start + UInt64(status), 1, 2, 0)
    store(UInt16(first), at: Self.available + 4 + Int(availableIndex) % Self.size * 2)
    store(availableIndex &+ 1, at: Self.available + 2)
    return UInt16(first)
  }

  func kickDevice() throws { try kick.signal() }

  /// Waits until everything is used.
  /// - Returns: The status of the last request; nil where it takes too long.
  func wait(for limit: Duration = .seconds(5)) -> UInt8? {
    let end = ContinuousClock.now + limit
    while usedIndex != availableIndex {
      if ContinuousClock.now > end { return nil }
      _ = try? call.wait(for: .milliseconds(20))
      _ = try? call.take()
    }
    return load(UInt8.self, at: 0x3100)
  }

  func request(_ kind: UInt32, sector: UInt64, byteCount: Int, isWritten: Bool) throws -> UInt8? {
    offer(kind, sector: sector, byteCount: byteCount, isWritten: isWritten)
    try kickDevice()
    return wait()
  }
}
