// SPDX-License-Identifier: Apache-2.0
internal import DeviceRegisters

/// The memory of an address space as its devices see it: what a device that is software transfers to and from.
///
/// All members may be called from any thread.
public protocol DeviceView: AnyObject, Sendable {
  /// Copies memory at a device's address into `target`.
  /// - Returns: Whether the device may: all of it mapped, reading allowed. If not, nothing was copied.
  func readAsDevice(at iova: IOVA, into target: inout MutableRawSpan) -> Bool
  /// Copies `source` to memory at a device's address.
  /// - Returns: As ``readAsDevice(at:into:)``, with writing allowed.
  func writeAsDevice(_ source: RawSpan, at iova: IOVA) -> Bool
  /// Shows where the memory lies, for many transfers in one go.
  ///
  /// Nothing is unmapped before `body` returns, so that it is short and calls no member of the view.
  /// - Parameter body: Called once, or not at all.
  /// - Returns: Whether it was called. Not every view has such a way; transfers by the other members work always.
  func withReach(_ body: (inout DeviceReach) -> Void) -> Bool
}

extension DeviceView {
  /// Has no such way.
  public func withReach(_ body: (inout DeviceReach) -> Void) -> Bool { false }

  /// Copies as a bus does: an aligned word at once, so that the other side never sees half of it.
  @unsafe
  package func copyWords(
    from source: UnsafeRawPointer, to target: UnsafeMutableRawPointer, _ byteCount: Int
  ) {
    var place = 0
    let difference = UInt(bitPattern: source) ^ UInt(bitPattern: target)
    func copy<Word: RegisterWord>(_ type: Word.Type) {
      unsafe Word.volatileStore(Word.volatileLoad(source + place), target + place)
      place += MemoryLayout<Word>.size
    }
    while place < byteCount {
      let misalignment = unsafe UInt(bitPattern: target + place) | difference
      switch byteCount - place {
      case 8... where misalignment & 7 == 0: copy(UInt64.self)
      case 4... where misalignment & 3 == 0: copy(UInt32.self)
      case 2... where misalignment & 1 == 0: copy(UInt16.self)
      default: copy(UInt8.self)
      }
    }
  }
}
