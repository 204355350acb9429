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
  /// What the kernel was told, to be told again after a reset.
  private struct Armed {
    let kind: InterruptKind
    var start: Int
    var events: [CInt?]
    var isMasked = false
    var unmaskEvent: CInt?

    mutating func set(_ new: [CInt?], from first: Int) {
      if first < start {
        events.insert(contentsOf: repeatElement(nil, count: start - first), at: 0)
        start = first
      }
      let missing = first + new.count - (start + events.count)
      if missing > 0 { events.append(contentsOf: repeatElement(nil, count: missing)) }
      events.replaceSubrange((first - start)..<(first - start + new.count), with: new)
    }
  }

  let events: PCIFunctionEvents
  private let handle: VFIODeviceHandle
  private let subject: String
  private let facts: [InterruptKind: InterruptFacts]
  private let armed = Mutex<Armed?>(nil)

  /// Asks what there is, and lets the kernel tell errors and requests from now on.
  /// - Throws: `KernelError` for `eventfd`, `VFIO_DEVICE_GET_IRQ_INFO` or `VFIO_DEVICE_SET_IRQS`.
  init(of handle: VFIODeviceHandle, indexCount: UInt32, subject: String) throws(KernelError) {
    self.handle = handle
    self.subject = subject
    var facts: [InterruptKind: InterruptFacts] = [:]
    for kind in InterruptKind.allCases where Self.index(of: kind) < indexCount {
      let info = try Self.info(Self.index(of: kind), of: handle, "\(subject), \(kind.rawValue)")
      guard info.flags & ABI_VFIO_IRQ_INFO_EVENTFD != 0, info.count > 0 else { continue }
      facts[kind] = InterruptFacts(
        vectorCount: Int(info.count), isExtensible: info.flags & ABI_VFIO_IRQ_INFO_NORESIZE == 0,
        isMaskable: info.flags & ABI_VFIO_IRQ_INFO_MASKABLE != 0)
    }
    self.facts = facts
    events = try PCIFunctionEvents()
    try armEvent(UInt32(ABI_VFIO_PCI_ERR_IRQ_INDEX), "errors", events.errorDescriptor, indexCount)
    try armEvent(UInt32(ABI_VFIO_PCI_REQ_IRQ_INDEX), "requests", events.removalDescriptor, indexCount)
  }

  private static func info(
    _ index: UInt32, of handle: VFIODeviceHandle, _ subject: @autoclosure () -> String
  ) throws(KernelError) -> abi_vfio_irq_info {
    var info = abi_vfio_irq_info()
    info.index = index
    try handle.call("VFIO_DEVICE_GET_IRQ_INFO", on: subject()) { fd in
      unsafe abi_vfio_device_get_irq_info(fd, &info)
    }
    return info
  }

  private func armEvent(
    _ index: UInt32, _ name: String, _ event: CInt, _ indexCount: UInt32
  ) throws(KernelError) {
    guard index < indexCount else { return }
    var event = event
    do throws(KernelError) {
      try handle.call("VFIO_DEVICE_SET_IRQS", on: "\(subject), \(name)") { fd in
        unsafe abi_vfio_device_set_irqs_eventfd(fd, Self.trigger, index, 0, 1, &event)
      }
    } catch {
      // The function has none: errors are those of PCI Express.
      guard error.errno == .invalidArgument || error.errno == .inappropriateIOCTLForDevice else {
        throw error
      }
    }
  }

  private static let trigger = UInt32(ABI_VFIO_IRQ_SET_ACTION_TRIGGER)

  static func index(of kind: InterruptKind) -> UInt32 {
    switch kind {
    case .intx: UInt32(ABI_VFIO_PCI_INTX_IRQ_INDEX)
    case .msi: UInt32(ABI_VFIO_PCI_MSI_IRQ_INDEX)
    case .msix: UInt32(ABI_VFIO_PCI_MSIX_IRQ_INDEX)
    }
  }

  /// The kind that is armed now.
  var armedKind: InterruptKind? { armed.withLock { $0?.kind } }

  var vectorCounts: [InterruptKind: Int] { facts.mapValues { $0.vectorCount } }

  func facts(of kind: InterruptKind) -> InterruptFacts? { facts[kind] }

  func arm(
    _ kind: InterruptKind, from start: Int, signalling events: [CInt?], adding isAdding: Bool
  ) throws(KernelError) {
    let place = "\(subject), \(kind.rawValue)"
    let available = facts[kind]?.vectorCount ?? 0
    guard start + events.count <= available else {
      throw KernelError(
        operation: "arm interrupts", errno: .invalidArgument, subject: place,
        remedy: "asked for vectors \(start) to \(start + events.count - 1), the function has \(available)")
    }
    try armed.withLock { armed throws(KernelError) in
      if let armed, !isAdding || armed.kind != kind {
        throw KernelError(
          operation: "arm interrupts", errno: .resourceBusy, subject: place,
          remedy: "\(armed.kind.rawValue) is armed; drop its vectors first")
      }
      if self.events.isRemoved { throw handle.goneError("arm interrupts", place) }
      try setEvents(kind, from: start, events)
      var now = armed ?? Armed(kind: kind, start: start, events: [])
      now.set(events, from: start)
      armed = now
    }
  }

  private func setEvents(_ kind: InterruptKind, from start: Int, _ events: [CInt?]) throws(KernelError) {
    let descriptors = events.map { $0 ?? -1 }
    let available = try call(kind) { fd, index in
      unsafe abi_vfio_device_set_irqs_eventfd(
        fd, Self.trigger, index, UInt32(start), UInt32(descriptors.count), descriptors)
    }
    // Not an error to the kernel, yet it has armed none.
    guard available == 0 else {
      throw KernelError(
        operation: "VFIO_DEVICE_SET_IRQS", errno: .noSpace, subject: "\(subject), \(kind.rawValue)",
        remedy: "asked for \(start + events.count) vectors, the machine has \(available) for the function; "
          + "several of MSI take interrupt remapping")
    }
  }

  func disarm(_ kind: InterruptKind) throws(KernelError) {
    try armed.withLock { armed throws(KernelError) in
      // Forgotten even if the kernel objects: closing the device ends its interrupts in any case.
      armed = nil
      try call(kind) { abi_vfio_device_set_irqs_none($0, Self.trigger, $1, 0, 0) }
    }
  }

  func trigger(_ kind: InterruptKind, _ vectors: Range<Int>) throws(KernelError) {
    guard !vectors.isEmpty else { return }  // a count of 0 would disarm
    try call(kind) {
      abi_vfio_device_set_irqs_none(
        $0, Self.trigger, $1, UInt32(vectors.lowerBound), UInt32(vectors.count))
    }
  }

  func trigger(_ kind: InterruptKind, from start: Int, where chosen: [Bool]) throws(KernelError) {
    guard !chosen.isEmpty else { return }
    let bytes = chosen.map { $0 ? UInt8(1) : 0 }
    try call(kind) {
      unsafe abi_vfio_device_set_irqs_bool($0, Self.trigger, $1, UInt32(start), UInt32(bytes.count), bytes)
    }
  }

  func setMasked(_ isMasked: Bool, _ kind: InterruptKind, vector: Int) throws(KernelError) {
    try armed.withLock { armed throws(KernelError) in
      try setMask(isMasked, kind, vector)
      armed?.isMasked = isMasked
    }
  }

  private func setMask(_ isMasked: Bool, _ kind: InterruptKind, _ vector: Int) throws(KernelError) {
    let action = UInt32(isMasked ? ABI_VFIO_IRQ_SET_ACTION_MASK : ABI_VFIO_IRQ_SET_ACTION_UNMASK)
    try call(kind) { abi_vfio_device_set_irqs_none($0, action, $1, UInt32(vector), 1) }
  }

  func unmask(_ kind: InterruptKind, vector: Int, whenSignalled event: CInt?) throws(KernelError) {
    try armed.withLock { armed throws(KernelError) in
      try setUnmaskEvent(event, kind, vector)
      armed?.unmaskEvent = event
    }
  }

  private func setUnmaskEvent(_ event: CInt?, _ kind: InterruptKind, _ vector: Int) throws(KernelError) {
    var descriptor = event ?? -1
    try call(kind) {
      unsafe abi_vfio_device_set_irqs_eventfd(
        $0, UInt32(ABI_VFIO_IRQ_SET_ACTION_UNMASK), $1, UInt32(vector), 1, &descriptor)
    }
  }

  /// Tells the kernel again what is armed, after a reset.
  ///
  /// Linux keeps what it was told, and brings the device's half back; what this adds is the mask: a line that the
  /// kernel had masked for an interrupt would wait for a driver that has nothing to acknowledge any more. Armed anew
  /// it is unmasked. What the driver masked itself stays so; the eventfds, and what they have counted, stay.
  func restore() throws(KernelError) {
    try armed.withLock { armed throws(KernelError) in
      guard let old = armed else { return }
      armed = nil
      try call(old.kind) { abi_vfio_device_set_irqs_none($0, Self.trigger, $1, 0, 0) }
      try setEvents(old.kind, from: old.start, old.events)
      armed = old
      if let event = old.unmaskEvent { try setUnmaskEvent(event, old.kind, old.start) }
      if old.isMasked { try setMask(true, old.kind, old.start) }
    }
  }

  /// Tells all who wait for interrupts or events that none will come any more.
  func end() {
    events.markRemoved()
    armed.withLock { armed in
      for case let event? in armed?.events ?? [] { EventFD.sayLastCall(to: event) }
    }
  }

  @discardableResult
  private func call(_ kind: InterruptKind, _ body: (CInt, UInt32) -> CInt) throws(KernelError) -> CInt {
    let index = Self.index(of: kind)
    return try handle.call("VFIO_DEVICE_SET_IRQS", on: "\(subject), \(kind.rawValue)") { body($0, index) }
  }
}
