// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import DriverCore
internal import LinuxHandles
internal import Synchronization

/// The bus between one model, its view of memory and its interrupts, and whose turn it is to call the model.
///
/// Knows no model, so that a model may hold its port.
final class SimulatedPort: DevicePort {
  private let view: any DeviceView
  let interrupts: SimulatedInterrupts
  let clock: SimulatedClock
  let configuration: Mutex<ConfigurationImage>
  private let poweredOn: ConfigurationImage
  private let turn = Mutex(())
  /// Counts resets: work of an earlier life is dropped even if it has left the clock's queue.
  private let life = Atomic<Int>(0)
  private let removed = Atomic<Bool>(false)

  init(_ facts: DeviceFacts, view: any DeviceView, clock: SimulatedClock) throws(KernelError) {
    poweredOn = ConfigurationImage(facts)
    configuration = Mutex(poweredOn)
    interrupts = try SimulatedInterrupts(vectorCounts: facts.vectorCounts)
    self.view = view
    self.clock = clock
  }

  var isRemoved: Bool { removed.load(ordering: .acquiring) }

  func remove() {
    removed.store(true, ordering: .releasing)
    inTurn {
      life.add(1, ordering: .relaxed)
      clock.cancelAll()
    }
    interrupts.setLine(isRaised: false)
    interrupts.report(.removed)
  }

  /// Calls the model, or does nothing once the device is removed.
  @discardableResult
  func inTurn<Value: Sendable>(_ body: () -> Value) -> Value {
    turn.withLock { _ in body() }
  }

  /// Changes configuration space as the driver does: when it returns, no transfer that it forbids is on its way.
  func configure<Value: Sendable>(_ change: (inout ConfigurationImage) -> Value) -> Value {
    inTurn { configuration.withLock { change(&$0) } }
  }

  /// Puts the bus side at its defaults; in turn.
  func reset() {
    life.add(1, ordering: .relaxed)
    clock.cancelAll()
    configuration.withLock { $0 = poweredOn }
    interrupts.reset()
    if let kind = interrupts.armed { setMessages(kind, isEnabled: true) }
  }

  /// Switches messages of a kind on or off in configuration space, as the kernel does.
  func setMessages(_ kind: InterruptKind, isEnabled: Bool) {
    configuration.withLock { image in
      guard let control = image.messageControls[kind] else { return }
      let old = image.load(at: control.byteOffset, byteWidth: 2) & ~UInt32(control.enable)
      image.store(isEnabled ? old | UInt32(control.enable) : old, at: control.byteOffset, byteWidth: 2)
    }
  }

  // MARK: DevicePort

  private func mayTransfer(at iova: IOVA, _ byteCount: Int, _ access: DMAAccess) -> Bool {
    guard !isRemoved else { return false }
    if isBusMaster { return true }
    // Other views keep what they blocked themselves; this is blocked by the function.
    let fault = DMAFault(iova: iova, byteCount: byteCount, access: access, reason: .busMasterOff)
    (view as? SimulatedAddressSpace)?.record(fault)
    return false
  }

  private var isBusMaster: Bool {
    configuration.withLock { $0.commandRegister & ConfigurationImage.busMaster != 0 }
  }

  func readMemory(at iova: IOVA, into target: inout MutableRawSpan) -> Bool {
    guard mayTransfer(at: iova, target.byteCount, .read) else { return false }
    return view.readAsDevice(at: iova, into: &target)
  }

  func writeMemory(_ source: RawSpan, at iova: IOVA) -> Bool {
    guard mayTransfer(at: iova, source.byteCount, .write) else { return false }
    return view.writeAsDevice(source, at: iova)
  }

  func withReach(_ body: (inout DeviceReach) -> Void) -> Bool {
    guard !isRemoved, isBusMaster else { return false }
    return view.withReach(body)
  }

  var enabledMessages: InterruptKind? {
    configuration.withLock { image in
      image.messageControls.first { _, control in
        image.load(at: control.byteOffset, byteWidth: 2) & UInt32(control.enable) != 0
      }?.key
    }
  }

  func sendMessage(vector: Int) {
    guard !isRemoved, isBusMaster, let kind = enabledMessages else { return }
    interrupts.deliverMessage(kind, vector: vector)
  }

  func setInterruptLine(_ isRaised: Bool) {
    guard !isRemoved else { return }
    interrupts.setLine(isRaised: isRaised)
  }

  func schedule(after delay: Duration, _ work: @escaping @Sendable () -> Void) {
    let born = life.load(ordering: .relaxed)
    clock.schedule(after: delay) { [self] in
      inTurn {
        if life.load(ordering: .relaxed) == born { work() }
      }
    }
  }

  func takeTurn(_ body: () -> Void) -> Bool {
    inTurn {
      guard !isRemoved else { return false }
      body()
      return true
    }
  }
}
