// SPDX-License-Identifier: Apache-2.0
internal import CLibNUMA

/// A node of a machine whose memory is not equally near to all processors and devices.
public struct NUMANode: Hashable, Sendable {
  /// The kernel's number of the node.
  public let number: Int

  /// Names a node.
  public init(number: Int) { self.number = number }

  /// The number of nodes that this machine has, 1 where the kernel knows none.
  /// - Source: `numa_available` and `numa_max_node` of libnuma.
  public static var count: Int { numa_available() < 0 ? 1 : Int(numa_max_node()) + 1 }
}
