// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// One capability of a function, found in its configuration space.
public struct PCICapability: Hashable, Sendable {
  /// What it is.
  public let id: PCICapabilityID
  /// The version of an extended capability; 0 for the others, which have none.
  public let version: Int
  /// Where its header is, in bytes.
  public let byteOffset: Int

  /// Creates a capability from its parts.
  public init(id: PCICapabilityID, version: Int = 0, byteOffset: Int) {
    self.id = id
    self.version = version
    self.byteOffset = byteOffset
  }
}

/// The capabilities that a walk along a list met, and how the walk ended.
///
/// The list is the device's word: whatever it says, a walk ends, and each capability in it was really there.
public struct CapabilityWalk: Hashable, Sendable {
  /// How a walk ended.
  public enum Ending: Hashable, Sendable {
    /// At the end of the list.
    case complete
    /// At a capability that it had met before.
    case loop
    /// At a pointer into the header, where no capability can be.
    case badPointer
    /// At the end of what can be read: without root sysfs shows 64 bytes.
    case truncated
    /// Nothing but ones was read: the device is gone or asleep.
    case deviceAbsent
  }

  /// In the order of the list.
  public var capabilities: [PCICapability] = []
  /// How it ended; anything but `.complete` may have left capabilities out.
  public var ending = Ending.complete

  /// Creates a result.
  public init(capabilities: [PCICapability] = [], ending: Ending = .complete) {
    self.capabilities = capabilities
    self.ending = ending
  }
}

extension ConfigurationSpace {
  /// The capabilities in the first 256 bytes.
  /// - Throws: `KernelError` of `read`.
  public func capabilities() throws(KernelError) -> [PCICapability] { try capabilityWalk().capabilities }

  /// The capabilities from byte 256 on, of PCI Express.
  /// - Throws: `KernelError` of `read`.
  public func extendedCapabilities() throws(KernelError) -> [PCICapability] {
    try extendedCapabilityWalk().capabilities
  }

  /// Walks along the capabilities in the first 256 bytes.
  /// - Throws: `KernelError` of `read`.
  /// - Source: PCI Local Bus 3.0, 6.7; `__pci_find_next_cap_ttl()`, drivers/pci/pci.c.
  public func capabilityWalk() throws(KernelError) -> CapabilityWalk {
    var walk = CapabilityWalk()
    guard byteCount >= 64 else { return CapabilityWalk(ending: .truncated) }
    if try vendorID == 0xffff { return CapabilityWalk(ending: .deviceAbsent) }
    let hasCapabilities: UInt16 = 1 << 4
    guard try read16(at: ConfigurationOffset.status) & hasCapabilities != 0 else { return walk }
    let isCardBus = try headerType == 2
    var pointer = try read8(
      at: isCardBus ? ConfigurationOffset.cardBusCapabilities : ConfigurationOffset.capabilities)
    var met: Set<Int> = []
    while pointer & ~3 != 0 {
      if pointer == 0xff { return walk.ended(.deviceAbsent) }
      let offset = Int(pointer & ~3)
      if offset < 0x40 { return walk.ended(.badPointer) }
      if offset + 2 > byteCount { return walk.ended(.truncated) }
      if !met.insert(offset).inserted { return walk.ended(.loop) }
      let header = try read16(at: offset)
      if header & 0xff == 0xff { return walk.ended(.deviceAbsent) }
      walk.capabilities.append(PCICapability(id: .standard(UInt8(header & 0xff)), byteOffset: offset))
      pointer = UInt8(header >> 8)
    }
    return walk
  }

  /// Walks along the capabilities from byte 256 on.
  ///
  /// A space of 256 bytes has none.
  /// - Throws: `KernelError` of `read`.
  /// - Source: PCI Express Base 6.0, 7.6.3; `pci_find_next_ext_capability()`, drivers/pci/pci.c.
  public func extendedCapabilityWalk() throws(KernelError) -> CapabilityWalk {
    var walk = CapabilityWalk()
    guard byteCount >= 256 else { return CapabilityWalk(ending: .truncated) }
    if try vendorID == 0xffff { return CapabilityWalk(ending: .deviceAbsent) }
    guard byteCount > 256 else { return walk }
    var met: Set<Int> = []
    var offset = 0x100
    while offset != 0 {
      if offset < 0x100 { return walk.ended(.badPointer) }
      if offset + 4 > byteCount { return walk.ended(.truncated) }
      if !met.insert(offset).inserted { return walk.ended(.loop) }
      let header = try read32(at: offset)
      if header == 0xffff_ffff {
        // Conventional devices behind some bridges answer so at 0x100: they have no extended space.
        return offset == 0x100 ? walk : walk.ended(.deviceAbsent)
      }
      if header == 0 { return walk }
      let id = UInt16(truncatingIfNeeded: header)
      // Id 0 is a place holder that only leads on; VFIO puts it where it hides a capability.
      if id != 0 {
        walk.capabilities.append(
          PCICapability(id: .extended(id), version: Int(header >> 16 & 0xf), byteOffset: offset))
      }
      offset = Int(header >> 20 & ~3)
    }
    return walk
  }
}

extension CapabilityWalk {
  fileprivate func ended(_ ending: Ending) -> CapabilityWalk {
    CapabilityWalk(capabilities: capabilities, ending: ending)
  }

  /// The first capability of this kind.
  public func first(_ id: PCICapabilityID) -> PCICapability? { capabilities.first { $0.id == id } }
}
