// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

/// Open descriptors in an order, each owned by the list until it is taken out.
public struct DescriptorList: ~Copyable, Sendable {
  private var rawValues: [CInt]

  /// Makes an empty list.
  public init() { rawValues = [] }

  init(adopting rawValues: [CInt]) { self.rawValues = rawValues }

  /// How many there are.
  public var count: Int { rawValues.count }

  var numbers: [CInt] { rawValues }

  /// Adds a descriptor at the end.
  public mutating func append(_ descriptor: consuming OwnedDescriptor) {
    rawValues.append(descriptor.relinquish())
  }

  /// Takes the first descriptor out, or nil where none is left.
  public mutating func takeFirst() -> OwnedDescriptor? {
    rawValues.isEmpty ? nil : OwnedDescriptor(adopting: rawValues.removeFirst())
  }

  deinit { for fd in rawValues { _ = abi_close(fd) } }
}
