// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import SystemPackage

/// The PCI functions and IOMMU groups of a machine, as sysfs shows them.
///
/// Nothing is kept: each call reads anew.
public struct PCIBus: Hashable, Sendable {
  /// Where sysfs is.
  public let root: SystemRoot

  /// Looks below a root.
  public init(root: SystemRoot = .host) { self.root = root }

  /// All functions, sorted by address.
  ///
  /// One that goes away meanwhile is left out.
  /// - Throws: `KernelError` for a file that cannot be read.
  public func functions() throws(KernelError) -> [PCIFunctionInfo] {
    var functions: [PCIFunctionInfo] = []
    for address in try addresses() {
      if let function = try facts(of: address) { functions.append(function) }
    }
    return functions
  }

  /// The addresses of all functions, sorted.
  /// - Throws: `KernelError` for the folder `sys/bus/pci/devices`.
  public func addresses() throws(KernelError) -> [PCIAddress] {
    try root.names(in: "sys/bus/pci/devices").compactMap { PCIAddress($0) }.sorted()
  }

  /// One function.
  /// - Throws: `KernelError` for `find`: `ENODEV` where no function has this address.
  public func function(at address: PCIAddress) throws(KernelError) -> PCIFunctionInfo {
    guard let function = try facts(of: address) else { throw Self.absent(address) }
    return function
  }

  /// Of one function what it takes to open it: its driver, group, NUMA node and VFIO nodes.
  ///
  /// All other facts have the values that they have before they are read; reading them takes longer than opening.
  /// - Throws: `KernelError` for `find`: `ENODEV` where no function has this address.
  package func functionToOpen(at address: PCIAddress) throws(KernelError) -> PCIFunctionInfo {
    var facts = PCIFunctionInfo(address: address)
    try readBinding(into: &facts)
    if facts.driver == nil, try !root.exists(Self.folder(address)) { throw Self.absent(address) }
    return facts
  }

  /// One IOMMU group.
  /// - Throws: `KernelError` for `find`: `ENOENT` where there is no such group.
  public func group(_ number: Int) throws(KernelError) -> IOMMUGroup {
    let folder = "sys/kernel/iommu_groups/\(number)"
    guard try root.exists(folder) else {
      throw KernelError(
        operation: "find", errno: .noSuchFileOrDirectory, subject: "IOMMU group \(number)",
        remedy: "`vfioctl list` shows the functions with their groups; without an IOMMU there is none.")
    }
    var members: [IOMMUGroup.Member] = []
    for name in try root.names(in: "\(folder)/devices") {
      members.append(.init(name: name, driver: try root.linkName("\(folder)/devices/\(name)/driver")))
    }
    let kind = try root.attribute("\(folder)/type").map(IOMMUGroup.Kind.init(rawValue:))
    return IOMMUGroup(number: number, members: members, kind: kind)
  }

  static func absent(_ address: PCIAddress) -> KernelError {
    KernelError(
      operation: "find", errno: .operationNotSupportedByDevice /* ENODEV */, subject: address.description,
      remedy: "No PCI function has this address; `vfioctl list` shows the functions.")
  }

  static func folder(_ address: PCIAddress) -> String { "sys/bus/pci/devices/\(address)" }

  private func facts(of address: PCIAddress) throws(KernelError) -> PCIFunctionInfo? {
    let folder = Self.folder(address)
    guard let vendor = try number(folder, "vendor"), let device = try number(folder, "device") else {
      return nil
    }
    var facts = PCIFunctionInfo(address: address)
    facts.vendorID = UInt16(truncatingIfNeeded: vendor)
    facts.deviceID = UInt16(truncatingIfNeeded: device)
    facts.subsystemVendorID = UInt16(truncatingIfNeeded: try number(folder, "subsystem_vendor") ?? 0)
    facts.subsystemDeviceID = UInt16(truncatingIfNeeded: try number(folder, "subsystem_device") ?? 0)
    facts.revision = UInt8(truncatingIfNeeded: try number(folder, "revision") ?? 0)
    facts.classCode = PCIClassCode(rawValue: UInt32(truncatingIfNeeded: try number(folder, "class") ?? 0))
    facts.headerType = try headerType(of: address)
    facts.driverOverride = try driverOverride(of: address)
    facts.bars = PCIBAR.all(fromResourceFile: try root.attribute("\(folder)/resource") ?? "")
    facts.isEnabled = try number(folder, "enable") ?? 0 > 0
    facts.isBootVGA = try number(folder, "boot_vga") == 1
    if let total = try number(folder, "sriov_totalvfs") {
      facts.virtualFunctionCounts = .init(total: total, enabled: try number(folder, "sriov_numvfs") ?? 0)
    }
    facts.physicalFunction = try root.linkName("\(folder)/physfn").flatMap { PCIAddress($0) }
    for index in 0..<(facts.virtualFunctionCounts?.enabled ?? 0) {
      if let function = try root.linkName("\(folder)/virtfn\(index)").flatMap({ PCIAddress($0) }) {
        facts.virtualFunctions.append(function)
      }
    }
    try readBinding(into: &facts)
    return facts
  }

  private func readBinding(into facts: inout PCIFunctionInfo) throws(KernelError) {
    let folder = Self.folder(facts.address)
    facts.driver = try root.linkName("\(folder)/driver")
    facts.iommuGroup = try root.linkName("\(folder)/iommu_group").flatMap { Int($0) }
    facts.numaNode = try number(folder, "numa_node").flatMap { $0 < 0 ? nil : $0 }
    let nodes = try root.names(in: "\(folder)/vfio-dev")
    facts.vfioDeviceName = nodes.first { $0.hasPrefix("vfio") }
    facts.noIOMMUDeviceName = nodes.first { $0.hasPrefix("noiommu-vfio") }
  }

  /// The override, or nil: the kernel writes `(null)` where there is none.
  func driverOverride(of address: PCIAddress) throws(KernelError) -> String? {
    let text = try root.attribute("\(Self.folder(address))/driver_override")
    return text == nil || text == "" || text == "(null)" ? nil : text
  }

  private func number(_ folder: String, _ name: String) throws(KernelError) -> Int? {
    guard let text = try root.attribute("\(folder)/\(name)") else { return nil }
    return text.hasPrefix("0x") ? Int(text.dropFirst(2), radix: 16) : Int(text)
  }

  private func headerType(of address: PCIAddress) throws(KernelError) -> UInt8? {
    guard try root.exists("\(Self.folder(address))/config") else { return nil }
    let space = try SysfsConfigurationSpace(of: address, root: root)
    guard space.byteCount >= 64 else { return nil }
    let value = try space.read8(at: ConfigurationOffset.headerType)
    return value == 0xff ? nil : value & 0x7f
  }
}
