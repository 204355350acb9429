// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DeviceRegisters

/// A command as a controller takes it apart.
struct NVMeModelCommand: Sendable {
  /// Opcode in 7:0, data pointer's kind in 15:14, id in 31:16, namespace in 63:32.
  private let header: UInt64
  /// PRP1, or the first half of an SGL descriptor.
  let data1: UInt64
  /// PRP2, or the second half of an SGL descriptor.
  let data2: UInt64
  private let words10and11: UInt64
  private let words12and13: UInt64

  /// Takes a command out of memory that a driver may write at any time: each part is read once.
  /// - Parameter entry: Of 64 bytes, at a multiple of 8.
  @unsafe
  init(loading entry: UnsafeRawPointer) {
    unsafe header = UInt64.volatileLoad(entry)
    unsafe data1 = UInt64.volatileLoad(entry + 24)
    unsafe data2 = UInt64.volatileLoad(entry + 32)
    unsafe words10and11 = UInt64.volatileLoad(entry + 40)
    unsafe words12and13 = UInt64.volatileLoad(entry + 48)
  }

  /// - Parameter bytes: 64 of them.
  init(_ bytes: [UInt8]) {
    precondition(bytes.count == 64, "a command has 64 bytes")
    func word(_ place: Int) -> UInt64 {
      (place..<(place + 8)).reversed().reduce(0) { $0 << 8 | UInt64(bytes[$1]) }
    }
    (header, data1, data2, words10and11, words12and13) = (word(0), word(24), word(32), word(40), word(48))
  }

  var opcode: UInt8 { UInt8(truncatingIfNeeded: header) }
  var usesDescriptors: Bool { header >> 14 & 3 != 0 }
  var id: UInt16 { UInt16(truncatingIfNeeded: header >> 16) }
  var namespaceID: UInt32 { UInt32(truncatingIfNeeded: header >> 32) }
  var block: UInt64 { words10and11 }
  var blockCount: UInt64 { (words12and13 & 0xffff) + 1 }
  var word10: UInt32 { UInt32(truncatingIfNeeded: words10and11) }
  var word11: UInt32 { UInt32(truncatingIfNeeded: words10and11 >> 32) }
}

/// A status field: type and code, and bit 14 for "do not retry".
struct NVMeModelStatus: Error, Hashable, Sendable {
  let rawValue: UInt16
  init(_ type: UInt16, _ code: UInt16, isFinal: Bool = true) {
    rawValue = type << 8 | code | (isFinal ? 0x4000 : 0)
  }
  init(rawValue: UInt16) { self.rawValue = rawValue }

  static let success = NVMeModelStatus(rawValue: 0)
  static let invalidOpcode = NVMeModelStatus(0, 0x01)
  static let invalidField = NVMeModelStatus(0, 0x02)
  static let transferError = NVMeModelStatus(0, 0x04, isFinal: false)
  static let abortRequested = NVMeModelStatus(0, 0x07, isFinal: false)
  static let abortedWithQueue = NVMeModelStatus(0, 0x08, isFinal: false)
  static let invalidNamespace = NVMeModelStatus(0, 0x0b)
  static let invalidDescriptors = NVMeModelStatus(0, 0x0d)
  static let invalidPRPOffset = NVMeModelStatus(0, 0x13)
  static let rangeBeyondNamespace = NVMeModelStatus(0, 0x80)
  static let invalidCompletionQueue = NVMeModelStatus(1, 0x00)
  static let invalidQueueID = NVMeModelStatus(1, 0x01)
  static let invalidQueueSize = NVMeModelStatus(1, 0x02)
  static let tooManyEventRequests = NVMeModelStatus(1, 0x05)
  static let invalidVector = NVMeModelStatus(1, 0x08)
  static let invalidLogPage = NVMeModelStatus(1, 0x09)
  static let invalidFormat = NVMeModelStatus(1, 0x0a)
  static let invalidQueueDeletion = NVMeModelStatus(1, 0x0c)
  static let compareFailure = NVMeModelStatus(2, 0x85)
}

/// Where a command's data lie: the pieces that its PRP entries or SGL descriptors name.
struct NVMeDataWalk {
  struct Piece {
    let iova: IOVA
    let byteCount: Int
  }

  private(set) var pieces: [Piece] = []

  /// - Throws: The status that the command ends with.
  init(
    _ command: NVMeModelCommand, _ byteCount: Int, through port: any DevicePort
  ) throws(NVMeModelStatus) {
    if command.usesDescriptors {
      try walkDescriptors(command, byteCount, port)
    } else {
      try walkPages(command, byteCount, port)
    }
  }

  private mutating func walkPages(
    _ command: NVMeModelCommand, _ byteCount: Int, _ port: any DevicePort
  ) throws(NVMeModelStatus) {
    guard command.data1 & 3 == 0 else { throw .invalidPRPOffset }
    let first = min(byteCount, 4096 - Int(command.data1 & 4095))
    pieces.append(Piece(iova: IOVA(command.data1), byteCount: first))
    var left = byteCount - first
    guard left > 0 else { return }
    if left <= 4096 {
      guard command.data2 & 4095 == 0 else { throw .invalidPRPOffset }
      return pieces.append(Piece(iova: IOVA(command.data2), byteCount: left))
    }
    guard command.data2 & 7 == 0 else { throw .invalidPRPOffset }
    var place = command.data2
    while left > 0 {
      // The last entry of a page names the next page of the list, where it is not the last of all.
      guard let entry = port.readWord(UInt64.self, at: IOVA(place)) else { throw .transferError }
      guard entry & 4095 == 0 else { throw .invalidPRPOffset }
      if place & 4095 == 4088 && left > 4096 {
        place = entry
        continue
      }
      let count = min(left, 4096)
      pieces.append(Piece(iova: IOVA(entry), byteCount: count))
      left -= count
      place += 8
    }
  }

  private mutating func walkDescriptors(
    _ command: NVMeModelCommand, _ byteCount: Int, _ port: any DevicePort
  ) throws(NVMeModelStatus) {
    var left = byteCount
    let length = Int(truncatingIfNeeded: command.data2 & 0xffff_ffff)
    switch command.data2 >> 60 {
    case 0:
      pieces.append(Piece(iova: IOVA(command.data1), byteCount: min(left, length)))
      left -= length
    case 3:
      for place in stride(from: command.data1, to: command.data1 + UInt64(length), by: 16) where left > 0 {
        guard let iova = port.readWord(UInt64.self, at: IOVA(place)),
          let descriptor = port.readWord(UInt64.self, at: IOVA(place + 8))
        else { throw .transferError }
        guard descriptor >> 60 == 0 else { throw .invalidDescriptors }
        let count = min(left, Int(descriptor & 0xffff_ffff))
        pieces.append(Piece(iova: IOVA(iova), byteCount: count))
        left -= count
      }
    default: throw .invalidDescriptors
    }
    guard left <= 0 else { throw .invalidDescriptors }
  }
}
