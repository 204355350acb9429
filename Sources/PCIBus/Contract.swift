// SPDX-License-Identifier: Apache-2.0
// Replaced by the real module.
public import LinuxHandles

public struct PCIAddress: Hashable, Sendable, LosslessStringConvertible {
  public let description: String
  public init?(_ description: String) { self.description = description }
}
public enum PCIBAR {
  public struct Index: Hashable, Sendable {
    public let rawValue: Int
    public init?(_ rawValue: Int) { self.rawValue = rawValue }
  }
}
public enum ConfigurationWidth: Int, Sendable { case byte = 1, word = 2, doubleWord = 4 }
public protocol ConfigurationSpace: Sendable {
  var byteCount: Int { get }
  func read(at byteOffset: Int, width: ConfigurationWidth) throws(KernelError) -> UInt32
  func write(_ value: UInt32, at byteOffset: Int, width: ConfigurationWidth) throws(KernelError)
}
