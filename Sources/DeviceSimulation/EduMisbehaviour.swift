// SPDX-License-Identifier: Apache-2.0

/// A way in which an ``EduModel`` is broken, to see that a test of the device can fail.
public enum EduMisbehaviour: String, CaseIterable, Hashable, Sendable {
  /// It is not.
  case none
  /// The identification register reads as another device's.
  case wrongIdentification
  /// The liveness register reads what was written.
  case deafLiveness
  /// Factorials never end.
  case deafFactorial
  /// Factorials are off by one.
  case wrongFactorial
  /// Causes are set, but no interrupt is sent.
  case lostInterrupt
  /// Messages are sent twice.
  case doubledInterrupt
  /// Transfers never end.
  case stuckDMA
  /// One bit of every transfer is wrong.
  case corruptedDMA
  /// After a blocked transfer none ends any more.
  case stuckAfterFault
}
