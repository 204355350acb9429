// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import DriverCore
internal import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// A device's interrupts through `VFIO_DEVICE_SET_IRQS`, by named operations only: the raw call fires where
/// one meant to disable.
/// - Source: `struct vfio_irq_set`, include/uapi/linux/vfio.h, Linux 3.6.
final class VFIOInterruptSource: InterruptSource {
  private let handle: VFIODeviceHandle
  private let subject: String
  private let counts: [InterruptKind: Int]
  private let armed = Mutex<InterruptKind?>(nil)

  init(of handle: VFIODeviceHandle, counts: [InterruptKind: Int], subject: String) {
    self.handle = handle
    self.counts = counts
    self.subject = subject
  }

  /// The kind that is armed now.
  var armedKind: InterruptKind? { armed.withLock { $0 } }

  private static let trigger = UInt32(ABI_VFIO_IRQ_SET_ACTION_TRIGGER)

  static func index(of kind: InterruptKind) -> UInt32 {
    switch kind {
    case .intx: UInt32(ABI_VFIO_PCI_INTX_IRQ_INDEX)
    case .msi: UInt32(ABI_VFIO_PCI_MSI_IRQ_INDEX)
    case .msix: UInt32(ABI_VFIO_PCI_MSIX_IRQ_INDEX)
    }
  }

  func arm(_ kind: InterruptKind, signalling events: [CInt]) throws(KernelError) {
    let available = counts[kind] ?? 0
    guard events.count <= available else {
      throw KernelError(
        operation: "arm interrupts", errno: .invalidArgument, subject: "\(subject), \(kind.rawValue)",
        remedy: "asked for \(events.count) vectors, the function has \(available)")
    }
    let earlier = armed.withLock { armed -> InterruptKind? in
      defer { armed = armed ?? kind }
      return armed
    }
    if let earlier {
      throw KernelError(
        operation: "arm interrupts", errno: .resourceBusy, subject: "\(subject), \(kind.rawValue)",
        remedy: "\(earlier.rawValue) is armed; drop its vectors first")
    }
    do throws(KernelError) {
      try call(kind) { abi_fd, index in
        unsafe abi_vfio_device_set_irqs_eventfd(abi_fd, Self.trigger, index, 0, UInt32(events.count), events)
      }
    } catch {
      armed.withLock { $0 = nil }
      throw error
    }
  }

  func disarm(_ kind: InterruptKind) throws(KernelError) {
    // Forgotten even if the kernel objects: closing the device ends its interrupts in any case.
    armed.withLock { $0 = nil }
    try call(kind) { abi_vfio_device_set_irqs_none($0, Self.trigger, $1, 0, 0) }
  }

  func detach(_ kind: InterruptKind, vector: Int) throws(KernelError) {
    var none: Int32 = -1
    try call(kind) {
      unsafe abi_vfio_device_set_irqs_eventfd($0, Self.trigger, $1, UInt32(vector), 1, &none)
    }
  }

  func trigger(_ kind: InterruptKind, vector: Int) throws(KernelError) {
    try single(kind, vector, Self.trigger)
  }

  func mask(_ kind: InterruptKind, vector: Int) throws(KernelError) {
    try single(kind, vector, UInt32(ABI_VFIO_IRQ_SET_ACTION_MASK))
  }

  func unmask(_ kind: InterruptKind, vector: Int) throws(KernelError) {
    try single(kind, vector, UInt32(ABI_VFIO_IRQ_SET_ACTION_UNMASK))
  }

  private func single(_ kind: InterruptKind, _ vector: Int, _ action: UInt32) throws(KernelError) {
    try call(kind) { abi_vfio_device_set_irqs_none($0, action, $1, UInt32(vector), 1) }
  }

  private func call(_ kind: InterruptKind, _ body: (CInt, UInt32) -> CInt) throws(KernelError) {
    let (fd, index) = (handle.descriptor, Self.index(of: kind))
    try kernelCall("VFIO_DEVICE_SET_IRQS", on: "\(subject), \(kind.rawValue)") { body(fd, index) }
  }
}
