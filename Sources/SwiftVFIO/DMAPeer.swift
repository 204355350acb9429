// SPDX-License-Identifier: Apache-2.0
public import PCIBus

/// Who is to reach a driver's memory.
public enum DMAPeer: Hashable, Sendable {
  /// A function of this machine that is bound to VFIO.
  case function(PCIAddress)
  /// Software: a simulated device, or a process that is given the file of the memory.
  case software
}

extension DMAPeer: CustomStringConvertible {
  /// The address, or `software`.
  public var description: String {
    switch self {
    case .function(let address): address.description
    case .software: "software"
    }
  }
}
