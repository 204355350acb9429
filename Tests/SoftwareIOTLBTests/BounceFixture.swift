// SPDX-License-Identifier: Apache-2.0
import DMACore
import Glibc
import LinuxHandles
import SoftwareIOTLB

/// Memory of a driver: bytes at a place in a page that a test chooses.
final class DriverBuffer: @unchecked Sendable {
  private let memory: MappedMemory
  private let offset: Int
  let byteCount: Int

  init(_ byteCount: Int, at offset: Int = 0, filledWith byte: UInt8 = 0) throws {
    memory = try MappedMemory.anonymous(byteCount: (offset + byteCount + 4095) & ~4095)
    self.offset = offset
    self.byteCount = byteCount
    unsafe raw.initializeMemory(as: UInt8.self, repeating: byte)
  }

  var raw: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(start: memory.baseAddress + offset, count: byteCount)
  }

  var bytes: [UInt8] {
    get { unsafe Array(raw) }
    set { unsafe raw.copyBytes(from: newValue) }
  }
}

extension IOTLBDomain {
  func map(_ buffer: DriverBuffer, _ direction: DMADirection, at iova: IOVA? = nil) throws(IOTLBError)
    -> BounceSlot
  {
    try unsafe map(buffer.raw, direction, at: iova)
  }
}

extension BounceWindow {
  mutating func map(_ buffer: DriverBuffer, _ direction: DMADirection, at iova: IOVA? = nil)
    throws(IOTLBError) -> BounceSlot
  {
    try unsafe map(buffer.raw, direction, at: iova)
  }
}

extension IOTLBView {
  func bytes(at iova: IOVA, _ byteCount: Int) throws(IOTLBError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    try read(at: iova, into: &raw)
    return bytes
  }

  func write(_ bytes: [UInt8], at iova: IOVA) throws(IOTLBError) {
    try unsafe write(bytes.span.bytes, at: iova)
  }
}

/// What a process that is given a domain's file sees: the whole file, whatever the table says.
struct RawDeviceSide: ~Copyable {
  private let mapping: MappedMemory

  init(of domain: IOTLBDomain) throws {
    mapping = try MappedMemory.sharing(
      domain.file.duplicate(), offset: 0, byteCount: Int(domain.layout.limit.rawValue) + 1)
  }

  /// The pages in which a byte occurs.
  func pages(with byte: UInt8) -> [Int] {
    stride(from: 0, to: mapping.byteCount, by: 4096).filter { start in
      unsafe memchr(mapping.baseAddress + start, CInt(byte), 4096) != nil
    }.map { $0 / 4096 }
  }

  func bytes(at iova: IOVA, _ byteCount: Int) -> [UInt8] {
    unsafe Array(
      UnsafeRawBufferPointer(start: mapping.baseAddress + Int(iova.rawValue), count: byteCount))
  }

  /// As a device that does not ask what it may.
  func fill(_ iova: IOVA, _ byteCount: Int, with byte: UInt8) {
    unsafe _ = memset(mapping.baseAddress + Int(iova.rawValue), CInt(byte), byteCount)
  }
}

extension IOTLBLayout {
  /// 64 KiB to bounce, and 192 KiB to stay.
  static let small = IOTLBLayout(bounceByteCount: 64 << 10, limit: IOVA(256 << 10 - 1))
}

/// The code that a call is refused with; nil where it is not.
func refusal(_ body: () throws(IOTLBError) -> Void) -> IOTLBError.Code? {
  do throws(IOTLBError) {
    try body()
    return nil
  } catch {
    return error.code
  }
}
