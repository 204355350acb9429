// SPDX-License-Identifier: Apache-2.0
import PCIBus
import TestSupport
import Testing
import VFIO

/// T3 on a machine with functions that share a slot, a display, and a network card with every kind of interrupt.
@Suite(.serialized, .lab("many-functions"))
struct ManyFunctionTests {}

/// The functions of the lab's machine `many-functions`; see Tests/Lab/machines.
enum ManyFunction {
  static let display = LabFunction.address("0000:00:02.0")
  /// xhci, with 16 messages of MSI.
  static let usb = LabFunction.address("0000:00:04.0")
  static let e1000e = LabFunction.address("0000:01:00.0")
  /// Two igb in one slot, each in a group of its own: the kernel knows that they are kept apart.
  static let igb = LabFunction.address("0000:02:00.0")
  static let secondIGB = LabFunction.address("0000:02:00.1")
  /// Two edu in one slot and one group.
  static let edu = LabFunction.address("0000:03:00.0")
  static let secondEdu = LabFunction.address("0000:03:00.1")
}
