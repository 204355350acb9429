// SPDX-License-Identifier: Apache-2.0

/// Bytes that a controller answered, as numbers.
struct LittleEndianBytes: Hashable, Sendable {
  let bytes: ArraySlice<UInt8>
  init(_ bytes: some Collection<UInt8>) { self.bytes = ArraySlice(bytes) }

  subscript(place: Int) -> UInt8 { bytes[bytes.startIndex + place] }
  private func word(at place: Int, byteCount: Int) -> UInt64 {
    (0..<byteCount).reversed().reduce(0) { $0 << 8 | UInt64(self[place + $1]) }
  }
  func word16(at place: Int) -> UInt16 { UInt16(word(at: place, byteCount: 2)) }
  func word32(at place: Int) -> UInt32 { UInt32(word(at: place, byteCount: 4)) }
  func word64(at place: Int) -> UInt64 { word(at: place, byteCount: 8) }

  /// Printable ASCII without the spaces at its end.
  func text(_ places: Range<Int>) -> String {
    var characters = places.map { self[$0] }.map { (0x20...0x7e).contains($0) ? $0 : UInt8(ascii: " ") }
    while characters.last == UInt8(ascii: " ") { characters.removeLast() }
    return String(decoding: characters, as: UTF8.self)
  }
}

/// What a controller is.
/// - Source: NVM Express Base Specification 2.0, 5.17.2.1, figure 275.
public struct NVMeIdentity: Hashable, Sendable {
  private let bytes: LittleEndianBytes

  init(_ bytes: [UInt8]) { self.bytes = LittleEndianBytes(bytes) }

  /// SN: who it is among its like.
  public var serialNumber: String { bytes.text(4..<24) }
  /// MN.
  public var model: String { bytes.text(24..<64) }
  /// FR.
  public var firmware: String { bytes.text(64..<72) }
  /// MDTS: the longest transfer of one command in bytes; nil for no limit.
  ///
  /// - Parameter page: The controller's smallest page.
  func maximumTransfer(ofPagesOf page: Int) -> Int? {
    bytes[77] == 0 ? nil : page << min(Int(bytes[77]), 40)
  }
  /// AERL: how many asynchronous event requests it holds.
  public var eventRequestCount: Int { Int(bytes[259]) + 1 }
  /// NN: no namespace has a higher id.
  public var highestNamespaceID: UInt32 { bytes.word32(at: 516) }
  /// Whether Format NVM is there (OACS).
  public var canFormat: Bool { bytes.word16(at: 256) & 1 << 1 != 0 }
  /// Whether doorbells may lie in memory (OACS).
  public var hasDoorbellBuffer: Bool { bytes.word16(at: 256) & 1 << 8 != 0 }
  /// Whether Compare is there (ONCS).
  public var canCompare: Bool { bytes.word16(at: 520) & 1 << 0 != 0 }
  /// Whether Dataset Management is there (ONCS).
  public var canDeallocate: Bool { bytes.word16(at: 520) & 1 << 2 != 0 }
  /// Whether Write Zeroes is there (ONCS).
  public var canWriteZeroes: Bool { bytes.word16(at: 520) & 1 << 3 != 0 }
  /// Whether it caches writes, so that Flush means something (VWC).
  public var hasWriteCache: Bool { bytes[525] & 1 != 0 }
  /// Whether data may be named by SGL descriptors (SGLS).
  public var hasScatterGatherLists: Bool { bytes.word32(at: 536) & 3 != 0 }
}

/// A namespace: an array of blocks.
/// - Source: NVM Command Set Specification 1.0, 4.1.5.1, figure 97.
public struct NVMeNamespace: Hashable, Sendable {
  /// Its number, from 1.
  public let id: UInt32
  /// How many blocks it has (NSZE).
  public let blockCount: UInt64
  /// The length of a block in bytes, as a power of two (LBADS).
  public let blockShift: Int
  /// Bytes of metadata with each block, at its end or apart from it (MS).
  public let metadataByteCount: Int
  /// The lengths of blocks that it can be formatted to, in bytes, by the number of the format.
  public let formats: [Int]
  /// Which of them it has.
  public let format: Int

  /// The length of a block in bytes.
  public var blockByteCount: Int { 1 << blockShift }
  /// The length of the namespace in bytes.
  public var byteCount: UInt64 { blockCount << UInt64(blockShift) }

  /// Nil for a namespace that is not active, or whose blocks make no sense.
  init?(id: UInt32, _ answer: [UInt8]) {
    let bytes = LittleEndianBytes(answer)
    let count = bytes.word64(at: 0)
    let format = Int(bytes[26] & 0xf)
    let shift = Int(bytes[128 + 4 * format + 2])
    guard count > 0, (9...16).contains(shift), count <= .max >> UInt64(shift) else { return nil }
    self.id = id
    blockCount = count
    blockShift = shift
    metadataByteCount = Int(bytes.word16(at: 128 + 4 * format))
    formats = (0...Int(min(bytes[25], 15))).map { 1 << Int(min(bytes[128 + 4 * $0 + 2], 62)) }
    self.format = format
  }
}
