// SPDX-License-Identifier: Apache-2.0
import CVhostVDPA
import Foundation
import LinuxHandles
import Synchronization
import TestSupport
import Testing
import VDUSE
import VDUSEBlock

/// A folder for one test, on the guest's memory.
final class Scratch {
  let path = "/tmp/vduse-\(UUID().uuidString)"
  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// A sparse file of this length.
  func image(_ byteCount: Int, _ name: String = "disk.img") throws -> String {
    let file = "\(path)/\(name)"
    try #require(FileManager.default.createFile(atPath: file, contents: nil))
    try #require(unsafe truncate(file, byteCount) == 0)
    return file
  }
}

/// A block device of the kernel, read and written as a whole file, past the page cache.
final class KernelDisk {
  let descriptor: CInt
  /// `/dev/vda`.
  let node: String

  /// Opens the disk that the device of this name became.
  init(servedAs name: String) throws {
    node = try #require(Self.node(servedAs: name))
    descriptor = unsafe block_open_direct(node)
    if descriptor < 0 { throw Failure("open", -descriptor) }
  }
  deinit { close(descriptor) }

  /// What the kernel calls the disk; nil where the device became none.
  static func node(servedAs name: String) -> String? {
    let folder = "/sys/bus/vdpa/devices/\(name)"
    // virtioN/block/vda
    let virtio = try? FileManager.default.contentsOfDirectory(atPath: folder).first { $0.hasPrefix("virtio") }
    guard let virtio else { return nil }
    let disks = try? FileManager.default.contentsOfDirectory(atPath: "\(folder)/\(virtio)/block")
    return disks?.first.map { "/dev/\($0)" }
  }

  struct Failure: Error {
    let call: String, errno: CInt;
    init(_ call: String, _ errno: CInt) { (self.call, self.errno) = (call, errno) }
  }

  static let alignment = 4096

  // Data and not arrays: these are compared and copied at full speed in a debug build too.

  func write(_ bytes: Data, at offset: Int) throws {
    try unsafe withBuffer(bytes.count) { buffer in
      unsafe bytes.copyBytes(to: buffer)
      let count = unsafe pwrite(descriptor, buffer.baseAddress, buffer.count, offset)
      if count != bytes.count { throw Failure("pwrite", count < 0 ? errno : 0) }
    }
  }

  func read(_ byteCount: Int, at offset: Int) throws -> Data {
    try unsafe withBuffer(byteCount) { buffer in
      let count = unsafe pread(descriptor, buffer.baseAddress, buffer.count, offset)
      if count != byteCount { throw Failure("pread", count < 0 ? errno : 0) }
      return unsafe Data(buffer)
    }
  }

  func flush() throws { if fsync(descriptor) != 0 { throw Failure("fsync", errno) } }

  private func withBuffer<T>(_ byteCount: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> T) throws
    -> T
  {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: Self.alignment)
    defer { unsafe buffer.deallocate() }
    return try unsafe body(buffer)
  }
}

/// A served disk of this process, on the bus.
final class ServedDisk {
  let device: PresentedDevice
  let name: String
  let reports = Reports()
  private var isOver = false

  final class Reports: Sendable {
    private let list = Mutex<[String]>([])
    func add(_ text: String) { list.withLock { $0.append(text) } }
    var all: [String] { list.withLock { $0 } }
  }

  init(
    _ image: DiskImage, _ scratch: Scratch, name: String = "t", queueCount: Int = 1,
    isPacked: Bool = false, hasTables: Bool = false, to driver: String = "virtio_vdpa",
    service: (any VirtioService)? = nil, change: (inout VDUSEDeviceDescription) -> Void = { _ in }
  ) throws {
    self.name = name
    let block = BlockService(
      image, identity: name, queueCount: queueCount, offersPackedRings: isPacked,
      offersIndirectTables: hasTables)
    let reports = reports
    var description = block.description(name: name)
    change(&description)
    device = try PresentedDevice(
      description, service ?? block, queueSize: block.maximumQueueSize,
      logPath: "\(scratch.path)/\(name).log"
    ) { reports.add($0) }
    do { try device.attach(to: driver) } catch {
      try? device.remove()
      throw error
    }
  }

  /// Ends it in order.
  func remove() throws {
    isOver = true
    try device.remove()
  }

  /// Ends the server alone.
  func stop() {
    isOver = true
    device.stop()
  }

  deinit { if !isOver { try? device.remove() } }
}
