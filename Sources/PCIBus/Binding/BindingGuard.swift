// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// Knows what a change of drivers would break, and says it before anything is changed.
public struct BindingGuard: Sendable {
  /// Where sysfs, proc and dev are.
  public let root: SystemRoot
  let network: NetworkState?

  /// Looks below a root.
  /// - Parameter network: The addresses and routes in use; nil for those of the moment.
  public init(root: SystemRoot = .host, network: NetworkState? = nil) {
    self.root = root
    self.network = network
  }

  /// Everything that stands against taking functions from their drivers; empty where nothing does.
  /// - Parameters:
  ///   - target: The driver that is to hold them, or nil for none.
  ///   - others: Functions that are bound in the same step, and so do not block each other's group.
  /// - Throws: `KernelError` for a file that cannot be read: what cannot be seen is not assumed to be free.
  public func refusals(
    of functions: [PCIFunctionInfo], target: String?, alsoBinding others: Set<PCIAddress> = []
  ) throws(KernelError) -> [BindingRefusal] {
    var refusals: [BindingRefusal] = []
    let together = others.union(functions.map(\.address))
    for function in functions {
      if function.isBridge {
        refusals.append(
          BindingRefusal(
            address: function.address, reason: .bridge,
            detail: "it is a bridge (class \(function.classCode)), which VFIO does not take",
            remedy: "Bind the functions behind it."))
        continue
      }
      refusals += try storageRefusals(of: function.address)
      refusals += try networkRefusals(of: function.address)
      if function.isBootVGA {
        refusals.append(
          BindingRefusal(
            address: function.address, reason: .bootDisplay,
            detail: "it is the display that the console is on",
            remedy: "Move the console to another display or a serial line."))
      }
      if let target, IOMMUGroup.isVFIODriver(target) {
        refusals += try groupRefusals(of: function, with: together)
      }
    }
    return refusals
  }

  private func groupRefusals(
    of function: PCIFunctionInfo, with together: Set<PCIAddress>
  ) throws(KernelError) -> [BindingRefusal] {
    guard let number = function.iommuGroup else { return [] }
    let blockers = try PCIBus(root: root).group(number).blockers(binding: together)
    if blockers.isEmpty { return [] }
    let names = blockers.map(\.description).joined(separator: ", ")
    return [
      BindingRefusal(
        address: function.address, reason: .group,
        detail: "VFIO could not open it, because its IOMMU group \(number) also has \(names)",
        remedy: "Bind them in the same step, or unbind them.")
    ]
  }
}
