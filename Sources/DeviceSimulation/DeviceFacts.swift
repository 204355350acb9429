// SPDX-License-Identifier: Apache-2.0
internal import DriverCore

/// The numbers by which a PCI function says what it is.
public struct DeviceIdentity: Hashable, Sendable {
  /// Who made it.
  public var vendorID: UInt16
  /// What it is, among its maker's.
  public var deviceID: UInt16
  /// Base class, subclass and programming interface, 24 bits: 0x010802 is NVMe.
  public var classCode: UInt32
  /// Its revision.
  public var revision: UInt8
  /// Who made the board.
  public var subsystemVendorID: UInt16
  /// What the board is.
  public var subsystemID: UInt16

  /// Puts the numbers together.
  public init(
    vendorID: UInt16, deviceID: UInt16, classCode: UInt32, revision: UInt8 = 0,
    subsystemVendorID: UInt16 = 0, subsystemID: UInt16 = 0
  ) {
    precondition(classCode < 1 << 24, "a class code has 24 bits")
    self.vendorID = vendorID
    self.deviceID = deviceID
    self.classCode = classCode
    self.revision = revision
    self.subsystemVendorID = subsystemVendorID
    self.subsystemID = subsystemID
  }
}

/// One BAR of a device model.
public struct DeviceBAR: Hashable, Sendable {
  /// Where a BAR is decoded.
  public enum Kind: Hashable, Sendable {
    /// Memory below 4 GiB.
    case memory32
    /// Memory anywhere; takes the next index too.
    case memory64
    /// I/O ports.
    case ports
  }
  /// Its index, 0 to 5.
  public var index: Int
  /// Its length in bytes: a power of two, at least 16 (4 for ports).
  public var byteCount: Int
  /// Where it is decoded.
  public var kind: Kind

  /// Describes a BAR.
  public init(index: Int, byteCount: Int, kind: Kind = .memory32) {
    precondition((0...(kind == .memory64 ? 4 : 5)).contains(index), "a function has BARs 0 to 5")
    precondition(
      byteCount >= (kind == .ports ? 4 : 16) && byteCount.nonzeroBitCount == 1,
      "a BAR's length is a power of two")
    precondition(kind == .memory64 || byteCount <= 1 << 31, "32 bits hold no longer BAR")
    self.index = index
    self.byteCount = byteCount
    self.kind = kind
  }
}

/// A capability in a device model's configuration space.
public enum DeviceCapability: Hashable, Sendable {
  /// Power states D0 and D3hot.
  case powerManagement
  /// A power of two of messages up to 32, with a 64-bit address.
  case msi(vectorCount: Int)
  /// Up to 2048 messages. The table and the pending bits lie in BARs, at multiples of 8 bytes.
  case msix(vectorCount: Int, tableBAR: Int, tableOffset: Int, pendingBAR: Int, pendingOffset: Int)
  /// A PCI Express endpoint that can be reset by itself.
  case pciExpress
}

/// What a device model is: all that its configuration space says at power-on.
public struct DeviceFacts: Hashable, Sendable {
  /// Its identity.
  public var identity: DeviceIdentity
  /// Its BARs.
  public var bars: [DeviceBAR]
  /// Its capabilities, in the order of the list in its configuration space.
  public var capabilities: [DeviceCapability]
  /// 1 to 4 for INTA# to INTD#, 0 without INTx.
  public var interruptPin: UInt8
  /// Whether the function can be reset by itself.
  public var isResettable: Bool

  /// Puts the facts together.
  public init(
    identity: DeviceIdentity, bars: [DeviceBAR], capabilities: [DeviceCapability] = [],
    interruptPin: UInt8 = 0, isResettable: Bool = true
  ) {
    precondition(interruptPin <= 4, "there are four interrupt pins")
    self.identity = identity
    self.bars = bars
    self.capabilities = capabilities
    self.interruptPin = interruptPin
    self.isResettable = isResettable
  }

  /// The length of configuration space in bytes: 4096 for PCI Express, else 256.
  public var configurationByteCount: Int { capabilities.contains(.pciExpress) ? 4096 : 256 }

  /// The length of each BAR in bytes, by index from 0 to 5; 0 where there is none.
  public var barByteCounts: [Int] {
    (0..<6).map { index in bars.first { $0.index == index }?.byteCount ?? 0 }
  }

  var vectorCounts: [InterruptKind: Int] {
    var counts: [InterruptKind: Int] = interruptPin == 0 ? [:] : [.intx: 1]
    for capability in capabilities {
      switch capability {
      case .msi(let count): counts[.msi] = count
      case .msix(let count, _, _, _, _): counts[.msix] = count
      case .powerManagement, .pciExpress: break
      }
    }
    return counts
  }

  /// Whether an access touches the MSI-X table, which belongs to the host and not to the model.
  func isInVectorTable(bar: Int, at byteOffset: Int) -> Bool {
    for case .msix(let count, let tableBAR, let offset, _, _) in capabilities
    where tableBAR == bar && byteOffset >= offset && byteOffset < offset + 16 * count {
      return true
    }
    return false
  }
}
