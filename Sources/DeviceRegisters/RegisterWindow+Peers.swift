// SPDX-License-Identifier: Apache-2.0

// What it takes to let another device reach the mapped part of a window.
extension RegisterWindow {
  /// Where the mapped part begins in this process; valid as long as ``owner`` lives, where the part is not empty.
  @unsafe
  package var mappedBaseAddress: UnsafeMutableRawPointer { unsafe mappedBase }

  /// What keeps the part mapped, and its device open.
  package var owner: any RegisterBacking { backing }
}
