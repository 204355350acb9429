// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Does what the driver core does when something is written to `drivers_probe` or `unbind` of a ``FakeSysfs``.
///
/// The attributes become named pipes that one thread reads. Unlike the kernel's, a write returns before its
/// effect is there; ``drain()`` waits for it.
public final class SysfsResponder: @unchecked Sendable {
  private let tree: FakeSysfs
  private let lock = NSLock()
  private let finished = DispatchSemaphore(value: 0)
  private var isStopping = false
  private var pipes: [(descriptor: CInt, driver: String?)] = []
  private var log: [String] = []
  private var matches: [String: String]
  private var refusing: Set<String> = []

  /// Answers for all drivers that the tree has now.
  /// - Parameter matches: The driver that takes a function, by its address, where there is no override.
  public init(_ tree: FakeSysfs, matches: [String: String] = [:]) throws {
    self.tree = tree
    self.matches = matches
    try addPipe("sys/bus/pci/drivers_probe", driver: nil)
    for driver in tree.names("sys/bus/pci/drivers") {
      try addPipe("sys/bus/pci/drivers/\(driver)/unbind", driver: driver)
    }
    Thread { [self] in run() }.start()
  }

  /// Ends the thread and closes the pipes.
  public func stop() {
    lock.withLock { isStopping = true }
    finished.wait()
    for pipe in pipes { close(pipe.descriptor) }
  }

  /// Drivers that take no function from now on.
  public func refuse(_ drivers: Set<String>) { lock.withLock { refusing = drivers } }

  /// What was written, as `probe ADDRESS` and `unbind DRIVER ADDRESS`, and forgets it.
  public func takeLog() -> [String] {
    drain()
    return lock.withLock {
      defer { log = [] }
      return log
    }
  }

  /// Waits until everything that was written has had its effect.
  public func drain() {
    while lock.withLock({ ready(0).contains(true) }) { usleep(200) }
  }

  private func addPipe(_ relative: String, driver: String?) throws {
    let path = tree.absolute(relative)
    unsafe unlink(path)
    // Open for both directions: a writer then never waits for a reader, and no end of file comes.
    let descriptor = unsafe mkfifo(path, 0o600) == 0 ? open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC) : -1
    guard descriptor >= 0 else { throw POSIXError(.EIO) }
    pipes.append((descriptor, driver))
  }

  private func ready(_ milliseconds: CInt) -> [Bool] {
    var entries = pipes.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
    _ = unsafe poll(&entries, nfds_t(entries.count), milliseconds)
    return entries.map { $0.revents & Int16(POLLIN) != 0 }
  }

  private func run() {
    while true {
      _ = ready(20)
      lock.lock()
      if isStopping {
        lock.unlock()
        finished.signal()
        return
      }
      for (pipe, isReady) in zip(pipes, ready(0)) where isReady {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = unsafe read(pipe.descriptor, &bytes, bytes.count)
        guard count > 0 else { continue }
        var text = String(decoding: bytes[..<count], as: UTF8.self)[...]
        // Writes that came close together are read together; an address here has 12 characters.
        while !text.isEmpty {
          react(to: String(text.prefix(12)), driver: pipe.driver)
          text = text.dropFirst(12)
        }
      }
      lock.unlock()
    }
  }

  private func react(to address: String, driver: String?) {
    let device = FakeSysfs.device(address)
    if let driver {
      log.append("unbind \(driver) \(address)")
      if tree.linkName("\(device)/driver") == driver { unsafe unlink(tree.absolute("\(device)/driver")) }
      return
    }
    log.append("probe \(address)")
    guard tree.linkName("\(device)/driver") == nil else { return }
    let override =
      tree.text("\(device)/driver_override")?.trimmingCharacters(in: .whitespacesAndNewlines) ?? ""
    let wanted = override.isEmpty || override == "(null)" ? matches[address] : override
    guard let wanted, !refusing.contains(wanted), tree.names("sys/bus/pci/drivers").contains(wanted) else {
      return
    }
    try? tree.link("\(device)/driver", to: "../../../bus/pci/drivers/\(wanted)")
  }
}
