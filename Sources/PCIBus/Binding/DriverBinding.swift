// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import SystemPackage

/// Gives functions to other drivers and back, so that neither a crash nor a mistake costs anything.
///
/// Binding uses `driver_override`, `unbind` and `drivers_probe`, and believes only the `driver` link that it reads
/// afterwards. How a function was before is in a journal on disk (`/run/swift-vfio/bindings`) from before the first
/// change until it is back: ``restore(_:)`` works after `kill -9` at any step. One process at a time changes drivers.
/// The calls need root, and wait while the kernel's drivers come and go.
public struct DriverBinding: Sendable {
  /// Where sysfs, proc and the journal are.
  public let root: SystemRoot
  private let network: NetworkState?
  private let settleLimit: Duration

  /// Binds below a root.
  /// - Parameters:
  ///   - network: The addresses and routes that the guard looks at; nil for those of the moment.
  ///   - settleLimit: How long a driver may take to come or go. The kernel is done when the write returns, so
  ///     the second is only ever waited where a driver refuses.
  public init(root: SystemRoot = .host, network: NetworkState? = nil, settleLimit: Duration = .seconds(1)) {
    self.root = root
    self.network = network
    self.settleLimit = settleLimit
  }

  /// Binds functions to a driver: all of them, or none.
  ///
  /// A function that the driver holds already stays as it is. A function that is in the journal keeps its first
  /// record, so that a restore leads to where it was before everything.
  /// - Parameter force: Passes over the refusals that are `isForceable`.
  /// - Throws: `.refused` before any change; `.kernel`: `ENOENT` for a driver that is not loaded, `ENODEV` where
  ///   it does not take a function or where there is none, `EBUSY` where a process has the device open, `EACCES`
  ///   without root. Whatever had been changed is put back; where that fails as well, the journal stays.
  public func bind(
    _ addresses: [PCIAddress], to driver: String = "vfio-pci", force: Bool = false
  ) throws(BindingError) {
    if driver.isEmpty || driver.contains(where: { $0 == "/" || $0.isWhitespace }) || driver.hasPrefix(".") {
      throw .kernel(
        KernelError(
          operation: "bind", errno: .invalidArgument, subject: driver, remedy: "This is no name of a driver.")
      )
    }
    try asBindingError { () throws(KernelError) in try FunctionDriver.exists(driver, root: root) }
    try change(addresses, to: driver, force: force)
  }

  /// Takes functions from their drivers and leaves them with none: all of them, or none of them.
  /// - Throws: As ``bind(_:to:force:)``.
  public func unbind(_ addresses: [PCIAddress], force: Bool = false) throws(BindingError) {
    try change(addresses, to: nil, force: force)
  }

  /// Brings functions back to the driver and override they had before the first change.
  ///
  /// Can be repeated at will. A record of another boot, or of a function that is gone, is only dropped.
  /// - Parameter addresses: Which; nil for all that the journal knows. One without a record stays as it is.
  /// - Returns: Those that were brought back.
  /// - Throws: The first failure, after all others were brought back; the record of what failed stays. `.kernel`:
  ///   `ENOENT` where the driver is no longer loaded, `EBUSY` where a process has the device open.
  @discardableResult
  public func restore(_ addresses: [PCIAddress]? = nil) throws(BindingError) -> [PCIAddress] {
    let hasJournal = try asBindingError { () throws(KernelError) in try root.exists(BindingJournal.folder) }
    guard hasJournal else { return [] }
    return try locked { journal throws(BindingError) in
      let wanted: [PCIAddress]
      if let addresses { wanted = addresses } else { wanted = try asBindingError(journal.addresses) }
      var restored: [PCIAddress] = []
      var failure: BindingError?
      for address in wanted {
        do throws(BindingError) {
          if try restore(address, journal) { restored.append(address) }
        } catch {
          failure = failure ?? error
        }
      }
      if let failure { throw failure }
      return restored
    }
  }

  /// What the journal knows, of this boot, sorted by address.
  /// - Throws: `KernelError` for the journal's files; `EBADMSG` for one that is damaged.
  public func records() throws(KernelError) -> [BindingRecord] {
    let journal = try BindingJournal(root: root)
    var records: [BindingRecord] = []
    for address in try journal.addresses() {
      if let record = try journal.validRecord(of: address) { records.append(record) }
    }
    return records
  }

  func locked<Value>(
    _ body: (BindingJournal) throws(BindingError) -> Value
  ) throws(BindingError) -> Value {
    let journal = try asBindingError { () throws(KernelError) in
      try BindingJournal.makeFolders(root)
      return try BindingJournal(root: root)
    }
    // Ten seconds: longer than any probe of a driver that ends, short enough for a person who waits.
    let lock = try asBindingError { () throws(KernelError) in try BindingLock(root: root, limit: .seconds(10))
    }
    defer { extendLifetime(lock) }
    return try body(journal)
  }

  func driver(of address: PCIAddress) -> FunctionDriver {
    FunctionDriver(address: address, root: root, settleLimit: settleLimit)
  }
}

extension DriverBinding {
  /// One function that a call has begun to change: how it was, and whether its record is this call's.
  private struct Change {
    let function: FunctionDriver
    let before: FunctionDriver.State
    let isNewInJournal: Bool
  }

  private func change(
    _ addresses: [PCIAddress], to target: String?, force: Bool
  ) throws(BindingError) {
    try locked { journal throws(BindingError) in
      let functions = try asBindingError { () throws(KernelError) in
        try self.functions(addresses, without: target)
      }
      try check(functions, for: target, binding: Set(addresses), force: force)
      var changes: [Change] = []
      do throws(KernelError) {
        for facts in functions {
          let function = driver(of: facts.address)
          let before = try function.state()
          let isNew = try journal.validRecord(of: facts.address) == nil
          changes.append(Change(function: function, before: before, isNewInJournal: isNew))
          if isNew {
            try journal.write(
              BindingRecord(
                address: facts.address, bootID: journal.bootID, previousDriver: before.driver,
                previousOverride: before.override, target: target))
          }
          try function.change(from: before, to: target)
        }
      } catch {
        throw .kernel(rolledBack(changes, journal, after: error.advisingForBinding()))
      }
    }
  }

  /// The functions that the driver does not hold already, each once, in the order given.
  private func functions(
    _ addresses: [PCIAddress], without target: String?
  ) throws(KernelError) -> [PCIFunctionInfo] {
    let bus = PCIBus(root: root)
    var seen: Set<PCIAddress> = []
    var functions: [PCIFunctionInfo] = []
    for address in addresses where seen.insert(address).inserted {
      let facts = try bus.function(at: address)
      if facts.driver != target { functions.append(facts) }
    }
    return functions
  }

  private func check(
    _ functions: [PCIFunctionInfo], for target: String?, binding: Set<PCIAddress>, force: Bool
  ) throws(BindingError) {
    let bindingGuard = BindingGuard(root: root, network: network)
    let refusals = try asBindingError { () throws(KernelError) in
      try bindingGuard.refusals(of: functions, target: target, alsoBinding: binding)
    }
    // What force cannot help is said first: the user would meet it next.
    if let refusal = refusals.first(where: { !$0.isForceable }) { throw .refused(refusal) }
    if !force, let refusal = refusals.first { throw .refused(refusal) }
  }

  /// Refuses where functions that are to vanish are in use.
  func check(_ addresses: [PCIAddress], force: Bool) throws(BindingError) {
    let functions = try asBindingError { () throws(KernelError) in
      var functions: [PCIFunctionInfo] = []
      for address in addresses {
        functions.append(try PCIBus(root: root).function(at: address))
        try driver(of: address).refuseWhileOpen()
      }
      return functions
    }
    try check(functions, for: nil, binding: [], force: force)
  }

  /// Puts everything back, newest first; the error says so where that failed as well.
  private func rolledBack(
    _ changes: [Change], _ journal: BindingJournal, after error: KernelError
  ) -> KernelError {
    var failures: [String] = []
    for change in changes.reversed() {
      do throws(KernelError) {
        try change.function.put(change.before)
        if change.isNewInJournal { try journal.remove(change.function.address) }
      } catch {
        failures.append("\(change.function.address) could not be put back (\(error))")
      }
    }
    if failures.isEmpty { return error }
    var error = error
    let advice = failures.joined(separator: "; ") + ": the journal is kept, `vfioctl restore` tries again."
    error.remedy = error.remedy.map { "\($0) \(advice)" } ?? advice
    return error
  }

  /// - Returns: Whether there was something to bring back.
  private func restore(_ address: PCIAddress, _ journal: BindingJournal) throws(BindingError) -> Bool {
    let function = driver(of: address)
    let found = try asBindingError { () throws(KernelError) -> (BindingRecord, FunctionDriver.State)? in
      guard let record = try journal.record(of: address) else { return nil }
      guard record.bootID == journal.bootID, try function.isPresent() else {
        try journal.remove(address)
        return nil
      }
      return (record, try function.state())
    }
    guard let (record, now) = found else { return false }
    if let driver = now.driver, driver != record.previousDriver, !IOMMUGroup.isVFIODriver(driver) {
      // Someone gave it to a third driver since; what is mounted now is as dear as what was mounted then.
      let refusals = try asBindingError { () throws(KernelError) in
        try BindingGuard(root: root, network: network).storageRefusals(of: address)
      }
      if let refusal = refusals.first { throw .refused(refusal) }
    }
    if let autoprobe = record.previousAutoprobe {
      // Before the function itself changes drivers: the next one may not know of them.
      let functions = try asBindingError(SRIOVFunction(address, binding: self).virtualFunctions)
      try check(functions, force: true)
      try asBindingError { () throws(KernelError) in
        try SRIOVState(address: address, root: root).destroy(autoprobe: autoprobe)
      }
    }
    try asBindingError { () throws(KernelError) in
      try function.put(.init(driver: record.previousDriver, override: record.previousOverride))
      try journal.remove(address)
    }
    return true
  }
}
