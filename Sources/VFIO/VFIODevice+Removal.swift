// SPDX-License-Identifier: Apache-2.0
internal import DriverCore
public import LinuxHandles
internal import Synchronization

extension VFIODevice {
  /// Lets the device go by itself when the kernel wants it back and nobody has closed it in time.
  ///
  /// An unplugged or unbound device is the kernel's again only when the last descriptor, window and mapping
  /// of it is gone; until then whoever unbinds it waits. From the first
  /// ``DriverCore/PCIFunctionEvent/removalRequested`` on there is a period of grace, in which the driver can
  /// stop the device and close it. After it, ``revoke()`` is called.
  /// - Parameters:
  ///   - grace: How long the driver may take; the kernel's next request comes ten seconds after the first.
  ///   - reactor: Its thread watches; a handler that blocks there delays this too.
  /// - Throws: `KernelError` for `timerfd_create`, `dup` or `epoll_ctl`.
  public borrowing func revokeWhenRemovalIsRequested(
    after grace: Duration, on reactor: EventReactor
  ) throws(KernelError) {
    let patience = RemovalPatience(grace, try TimerFD())
    // The handle holds the watches: they must not hold it.
    let expiry = try reactor.watch(patience.timer.descriptor) {
      [weak handle = handle, weak interrupts = interrupts] _ in
      interrupts?.end()
      do throws(KernelError) {
        try handle?.revoke()
      } catch {
        patience.renew()
      }
    }
    let request = try interrupts.events.whenRemovalIsRequested(on: reactor) { patience.begin() }
    handle.watches.withLock { $0 = [expiry, request] }
  }

  /// Gives the device back to the kernel now, whoever still holds windows, vectors or the device itself.
  ///
  /// The kernel stops its DMA and resets it. From then on register windows read as all ones and say so
  /// (`takeFault()`, `checkAccesses()`), all calls throw `ENODEV` (``DriverCore/DriverError/Code/removed`` in a
  /// driver), and waits for interrupts and events end.
  /// Memory stays exposed until its owner reclaims it. ``close()`` then only tidies up.
  /// - Throws: `KernelError` for `memfd_create`, `mmap`, `eventfd` or `dup3`; it can be called again.
  public borrowing func revoke() throws(KernelError) {
    interrupts.end()
    try handle.revoke()
  }
}

/// The period of grace: begins with the first request, and is not prolonged by the next ones.
private final class RemovalPatience: Sendable {
  let timer: TimerFD
  private let grace: Duration
  private let hasBegun = Atomic<Bool>(false)

  init(_ grace: Duration, _ timer: consuming TimerFD) {
    self.grace = grace
    self.timer = timer
  }

  func begin() {
    guard !hasBegun.exchange(true, ordering: .relaxed) else { return }
    _ = try? timer.start(after: grace)
  }

  /// For a revocation that failed, for want of descriptors or memory: the next request is another chance.
  func renew() { hasBegun.store(false, ordering: .relaxed) }
}
