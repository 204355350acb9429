// SPDX-License-Identifier: Apache-2.0

extension RegisterWindow {
  /// Where a part of the window is mapped in this process, for doorbells of a hot path; nil where it is reached by
  /// calls, or lies past the window.
  ///
  /// Whoever keeps it keeps the window too, and reaches it by volatile accesses only.
  @unsafe
  public borrowing func address(at byteOffset: Int, byteCount: Int) -> UnsafeMutableRawPointer? {
    let place = byteOffset - mappedOffset
    guard place >= 0, byteCount > 0, place <= mappedCount - byteCount else { return nil }
    return unsafe mappedBase + place
  }
}
