// SPDX-License-Identifier: Apache-2.0

/// A way in which an ``NVMeModel`` is broken, to see that a driver notices.
public enum NVMeMisbehaviour: String, CaseIterable, Hashable, Sendable {
  /// It is not.
  case none
  /// It never becomes ready.
  case neverReady
  /// It reports a fatal status (CFS) instead of doing a command of an I/O queue, and does nothing from then on.
  case diesAtCommand
  /// It stays ready when it is disabled, and goes on.
  case neverStops
  /// Registers read as ones and writes to them vanish, though it is still there and its configuration space answers.
  case allOnes
  /// It takes commands of I/O queues and does not complete them; Abort does not help.
  case forgetsCommands
  /// It holds commands of I/O queues until they are aborted.
  case holdsCommands
  /// It does not answer admin commands from the first that creates a queue on.
  case deafAdmin
  /// It completes commands that nobody gave it.
  case unknownID
  /// It completes each command twice.
  case repeatedID
  /// The phase bits of an I/O queue are inverted from the first completion on.
  case phaseJump
  /// The interrupts of I/O queues are not sent.
  case lostInterrupt
  /// One bit of each block that is read is wrong.
  case corruptedRead
}
