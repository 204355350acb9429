// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import SystemPackage

/// A physical function that can make virtual ones (SR-IOV).
///
/// Virtual functions are made with the kernel's automatic binding off, so that no driver of the host takes them
/// first; functions of a physical one that vfio-pci holds go to vfio-pci at once, by the kernel's own choice. What was
/// there before is in the journal of ``DriverBinding`` until ``destroy(force:)``: after `kill -9` at any step
/// ``DriverBinding/restore(_:)`` takes the virtual functions away. The calls need root.
/// - Source: Documentation/PCI/pci-iov-howto.rst; drivers/pci/iov.c, Linux 3.8; automatic binding off since 4.12.
public struct SRIOVFunction: Sendable {
  /// Which function.
  public let address: PCIAddress
  private let binding: DriverBinding

  /// Names a physical function.
  public init(_ address: PCIAddress, binding: DriverBinding = DriverBinding()) {
    self.address = address
    self.binding = binding
  }

  private var root: SystemRoot { binding.root }

  /// The virtual functions that there are, in order.
  /// - Throws: `KernelError`: `ENODEV` where there is no such function.
  public func virtualFunctions() throws(KernelError) -> [PCIAddress] {
    try PCIBus(root: root).function(at: address).virtualFunctions
  }

  /// Makes virtual functions: as many as asked for, or none.
  /// - Returns: Their addresses, in order.
  /// - Throws: `.kernel`: `EOPNOTSUPP` where this is no physical function, `ERANGE` for more than it can have,
  ///   `EBUSY` where there are some already, `ENOENT` where its driver cannot make them, `EACCES` without root.
  ///   All is as before then; where that fails as well, the journal stays.
  @discardableResult
  public func create(_ count: Int) throws(BindingError) -> [PCIAddress] {
    try binding.locked { journal throws(BindingError) in
      let before = try asBindingError { () throws(KernelError) in
        let facts = try PCIBus(root: root).function(at: address)
        try check(count, facts)
        return facts
      }
      let state = SRIOVState(address: address, root: root)
      return try asBindingError { () throws(KernelError) in
        let autoprobe = try state.autoprobe()
        let former = try journal.validRecord(of: address)
        let driver = FunctionDriver.State(driver: before.driver, override: before.driverOverride)
        let record =
          former
          ?? BindingRecord(
            address: address, bootID: journal.bootID, previousDriver: driver.driver,
            previousOverride: driver.override, target: driver.driver)
        do throws(KernelError) {
          try journal.write(record.with(autoprobe: autoprobe))
          return try state.create(count, autoprobe: autoprobe, driver: before.driver)
        } catch {
          throw undone(state, journal, former, autoprobe: autoprobe, after: error)
        }
      }
    }
  }

  private func check(_ count: Int, _ facts: PCIFunctionInfo) throws(KernelError) {
    func refusal(_ errno: Errno, _ remedy: String) -> KernelError {
      KernelError(
        operation: "make virtual functions", errno: errno, subject: "\(count) of \(address)", remedy: remedy)
    }
    guard let counts = facts.virtualFunctionCounts else {
      throw refusal(
        .notSupported,
        facts.physicalFunction.map { "It is a virtual function itself, of \($0)." }
          ?? "It has no SR-IOV, or the kernel has none (CONFIG_PCI_IOV).")
    }
    guard (1...max(1, counts.total)).contains(count), counts.total > 0 else {
      throw refusal(.outOfRange, "It can have 1 to \(counts.total).")
    }
    guard counts.enabled == 0 else {
      throw refusal(
        .resourceBusy,
        "It has \(counts.enabled) already: destroy them first; `vfioctl restore \(address)` does so for those "
          + "that this library made.")
    }
  }

  /// Puts everything back after a failure; the error says so where that failed as well.
  private func undone(
    _ state: SRIOVState, _ journal: BindingJournal, _ former: BindingRecord?, autoprobe: Bool,
    after error: KernelError
  ) -> KernelError {
    do throws(KernelError) {
      try state.destroy(autoprobe: autoprobe)
      if let former { try journal.write(former) } else { try journal.remove(address) }
      return error
    } catch let second {
      var error = error
      let advice = "It could not be undone (\(second)): the journal is kept, `vfioctl restore` tries again."
      error.remedy = error.remedy.map { "\($0) \(advice)" } ?? advice
      return error
    }
  }

  /// Takes all virtual functions away, and sets the automatic binding as it was before ``create(_:)``.
  ///
  /// Nothing happens where there are none.
  /// - Parameter force: Passes over the refusals that are `isForceable`.
  /// - Throws: `.refused` where a virtual function is in use by the host; `.kernel`: `EBUSY` where a process has
  ///   one open.
  public func destroy(force: Bool = false) throws(BindingError) {
    try binding.locked { journal throws(BindingError) in
      let functions = try asBindingError(virtualFunctions)
      try binding.check(functions, force: force)
      try asBindingError { () throws(KernelError) in
        let record = try journal.validRecord(of: address)
        try SRIOVState(address: address, root: root).destroy(autoprobe: record?.previousAutoprobe)
        guard let record, record.previousAutoprobe != nil else { return }
        let now = try binding.driver(of: address).state()
        if now.driver == record.previousDriver, now.override == record.previousOverride {
          try journal.remove(address)
        } else {
          try journal.write(record.with(autoprobe: nil))
        }
      }
    }
  }
}

/// The attributes of a physical function, and the steps that change them.
struct SRIOVState {
  let address: PCIAddress
  let root: SystemRoot

  private var folder: String { PCIBus.folder(address) }
  private var autoprobeFile: String { "\(folder)/sriov_drivers_autoprobe" }
  private var countFile: String { "\(folder)/sriov_numvfs" }

  func autoprobe() throws(KernelError) -> Bool { try root.text(autoprobeFile).trimmingLineEnd() != "0" }

  func create(_ count: Int, autoprobe: Bool, driver: String?) throws(KernelError) -> [PCIAddress] {
    if autoprobe { try root.write("0", to: autoprobeFile) }
    do throws(KernelError) {
      try root.write("\(count)", to: countFile)
    } catch {
      throw error.errno == .noSuchFileOrDirectory ? error.advising(Self.driverRemedy(driver)) : error
    }
    if autoprobe { try root.write("1", to: autoprobeFile) }
    let functions = try PCIBus(root: root).function(at: address).virtualFunctions
    guard functions.count == count else {
      throw KernelError(
        operation: "make virtual functions", errno: .ioError, subject: "\(count) of \(address)",
        remedy: "The driver made \(functions.count).")
    }
    return functions
  }

  private static func driverRemedy(_ driver: String?) -> String {
    switch driver {
    case "vfio-pci":
      "vfio-pci makes none by default, since few drivers outside of the kernel care for them: "
        + "echo Y > /sys/module/vfio_pci/parameters/enable_sriov (or modprobe vfio-pci enable_sriov=1)."
    case let driver?: "Its driver \(driver) cannot make virtual functions."
    case nil: "It has no driver; its own, or vfio-pci, makes them."
    }
  }

  /// Does nothing twice.
  func destroy(autoprobe: Bool?) throws(KernelError) {
    if try root.attribute(countFile) ?? "0" != "0" { try root.write("0", to: countFile) }
    guard let autoprobe else { return }
    let wanted = autoprobe ? "1" : "0"
    if let now = try root.attribute(autoprobeFile), now != wanted {
      try root.write(wanted, to: autoprobeFile)
    }
  }
}
