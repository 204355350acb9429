// SPDX-License-Identifier: Apache-2.0
import VDUSE

/// Numbers of a virtio block device.
/// - Source: Virtual I/O Device Specification 1.2, section 5.2, "Block Device".
enum BlockProtocol {
  /// The unit of all addresses and lengths, whatever the block size is.
  static let sectorByteCount = 512
  /// Of a request's head: type (32 bits), reserved (32), sector (64).
  static let headByteCount = 16
  /// Of a range to discard or to make zeroes: sector (64 bits), number of sectors (32), flags (32).
  static let rangeByteCount = 16
  /// Of the name of a disk.
  static let identityByteCount = 20
  /// Of a range's flags: its storage may be given back.
  static let unmap: UInt32 = 1

  /// What a request asks.
  enum Kind {
    static let read: UInt32 = 0
    static let write: UInt32 = 1
    static let flush: UInt32 = 4
    static let identity: UInt32 = 8
    static let discard: UInt32 = 11
    static let writeZeroes: UInt32 = 13
  }

  /// What became of it.
  enum Status: UInt8 {
    case done = 0
    case failed = 1
    case unsupported = 2
  }

  /// Feature bits.
  enum Feature {
    static let segmentLimit: UInt64 = 1 << 2
    static let readOnly: UInt64 = 1 << 5
    static let blockSize: UInt64 = 1 << 6
    static let flush: UInt64 = 1 << 9
    static let topology: UInt64 = 1 << 10
    static let multiQueue: UInt64 = 1 << 12
    static let discard: UInt64 = 1 << 13
    static let writeZeroes: UInt64 = 1 << 14
  }

  /// The most sectors of one range to discard, or to make zeroes: 1 GiB, and 16 MiB, which may have to be written.
  static let discardLimit: UInt32 = 1 << 21
  static let writeZeroesLimit: UInt32 = 1 << 15

  /// The configuration space, up to what the features above need.
  static func configuration(sectorCount: UInt64, segmentLimit: Int, queueCount: Int) -> [UInt8] {
    var space = ConfigurationSpace()
    space.put(sectorCount)
    space.put(UInt32(0))  // The size of a segment has no limit.
    space.put(UInt32(segmentLimit))
    space.put(UInt32(0))  // No geometry.
    space.put(UInt32(sectorByteCount))
    // Topology: blocks of 2^3 sectors, from the first one on; 1 block at least, no best size.
    space.bytes += [3, 0, 1, 0]
    space.put(UInt32(0))
    space.bytes += [0, 0]  // The write-back switch, which VDUSE does not have.
    space.put(UInt16(queueCount))
    space.put(discardLimit)
    space.put(UInt32(1))
    space.put(UInt32(8))  // Discarded in blocks of 4 KiB.
    space.put(writeZeroesLimit)
    space.put(UInt32(1))
    space.bytes += [1, 0, 0, 0]  // Zeroes may be holes.
    return space.bytes
  }

  /// Little-endian numbers one after the other.
  private struct ConfigurationSpace {
    var bytes: [UInt8] = []
    mutating func put<Number: FixedWidthInteger>(_ number: Number) {
      for shift in stride(from: 0, to: Number.bitWidth, by: 8) {
        bytes.append(UInt8(truncatingIfNeeded: number >> shift))
      }
    }
  }
}
