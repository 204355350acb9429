// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles

extension BindingGuard {
  /// The interfaces of a function, or what is built on them (bridge, bond, VLAN), that carry traffic.
  ///
  /// Only those of this network namespace can be seen.
  func networkRefusals(of address: PCIAddress) throws(KernelError) -> [BindingRefusal] {
    var refusals: [BindingRefusal] = []
    for interface in try interfaces(of: address) {
      let state = if let network { network } else { try NetworkState.current(root: root) }
      for carrier in try withUppers(interface) {
        guard let use = state.uses.first(where: { $0.interface == carrier && !$0.isLinkLocal }) else {
          continue
        }
        let path = carrier == interface ? "" : " through \(carrier)"
        refusals.append(
          BindingRefusal(
            address: address, reason: .network, detail: "its interface \(interface) carries \(use)\(path)",
            remedy: "Take the interface down, and mind your own connection."))
        break
      }
    }
    return refusals
  }

  private func interfaces(of address: PCIAddress) throws(KernelError) -> [String] {
    var interfaces: [String] = []
    for name in try root.names(in: "sys/class/net") {
      let target = try root.link("sys/class/net/\(name)")
      if target?.hasPathComponent(address.description) == true { interfaces.append(name) }
    }
    return interfaces
  }

  /// An interface and all that stand on it, from below upwards.
  private func withUppers(_ interface: String) throws(KernelError) -> [String] {
    var carriers = [interface]
    var next = 0
    while next < carriers.count {
      for entry in try root.names(in: "sys/class/net/\(carriers[next])") where entry.hasPrefix("upper_") {
        let upper = String(entry.dropFirst("upper_".count))
        if !carriers.contains(upper) { carriers.append(upper) }
      }
      next += 1
    }
    return carriers
  }
}
