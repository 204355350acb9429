// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import DeviceRegisters
public import DriverCore

/// What the bus offers a device model: transfers to memory, interrupts, time.
///
/// A model that is removed keeps its port; nothing that it does there has an effect any more.
public protocol DevicePort: AnyObject, Sendable {
  /// Copies memory at a bus address into `target`.
  /// - Returns: Whether the bus let it through: bus master on, all of it mapped, reading allowed. If not,
  ///   nothing was copied.
  func readMemory(at iova: IOVA, into target: inout MutableRawSpan) -> Bool
  /// Copies `source` to memory at a bus address.
  /// - Returns: As ``readMemory(at:into:)``, with writing allowed.
  func writeMemory(_ source: RawSpan, at iova: IOVA) -> Bool
  /// Shows where memory lies, for many transfers in one go; see ``DeviceView/withReach(_:)``.
  /// - Parameter body: Short, and calls no member of the port.
  /// - Returns: Whether it was called: not with bus master off, nor where addresses are not to be had.
  ///   ``readMemory(at:into:)`` and ``writeMemory(_:at:)`` tell the two apart.
  func withReach(_ body: (inout DeviceReach) -> Void) -> Bool
  /// Which kind of message is switched on, or nil where the device must use its INTx line.
  var enabledMessages: InterruptKind? { get }
  /// Sends a message; lost where messages are off, the vector is not armed, or bus master is off.
  func sendMessage(vector: Int)
  /// Raises or lowers the INTx line.
  func setInterruptLine(_ isRaised: Bool)
  /// Does something later, in turn with all other calls of the model; dropped by a reset.
  /// - Parameter delay: What the real device would take. The host's clock may run faster.
  func schedule(after delay: Duration, _ work: @escaping @Sendable () -> Void)
  /// Does something now, in turn with all other calls of the model: for a thread of the model's own.
  /// - Returns: False where the device was removed: nothing was done, and nothing will be.
  func takeTurn(_ body: () -> Void) -> Bool
}

extension DevicePort {
  /// Copies `byteCount` bytes of memory; nil where the bus did not let it through.
  public func readBytes(at iova: IOVA, byteCount: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    var span = bytes.mutableSpan
    // SAFETY: any bytes are a value of an integer.
    var raw = unsafe span.mutableBytes
    return readMemory(at: iova, into: &raw) ? bytes : nil
  }

  /// Reads one scalar of memory, at once where its address is a multiple of its width.
  public func readWord<Word: RegisterWord>(_ type: Word.Type, at iova: IOVA) -> Word? {
    var value: Word = 0
    // SAFETY: any bytes are a value of an integer.
    let isRead = unsafe withUnsafeMutableBytes(of: &value) { bytes in
      var span = unsafe bytes.mutableBytes
      return readMemory(at: iova, into: &span)
    }
    return isRead ? value : nil
  }

  /// Writes one scalar to memory, at once where its address is a multiple of its width.
  public func writeWord<Word: RegisterWord>(_ value: Word, at iova: IOVA) -> Bool {
    // SAFETY: as above.
    unsafe withUnsafeBytes(of: value) { unsafe writeMemory($0.bytes, at: iova) }
  }
}
