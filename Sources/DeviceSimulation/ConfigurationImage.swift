// SPDX-License-Identifier: Apache-2.0
internal import DriverCore

/// The bytes of a configuration space, and which bits of them software can change.
/// - Source: PCI Local Bus 3.0, 6.1, 6.2, 6.7, 6.8; include/uapi/linux/pci_regs.h.
struct ConfigurationImage: Sendable {
  static let command = 0x04
  static let memorySpace: UInt16 = 1 << 1
  static let busMaster: UInt16 = 1 << 2
  static let interruptDisable: UInt16 = 1 << 10

  private(set) var bytes: [UInt8]
  private var writable: [UInt8]
  private var nextCapability = 0x40
  private var lastPointer = 0x34
  /// Place of the control word of MSI and MSI-X, by kind, and its enable bit.
  private(set) var messageControls: [InterruptKind: (byteOffset: Int, enable: UInt16)] = [:]

  init(_ facts: DeviceFacts) {
    bytes = [UInt8](repeating: 0, count: facts.configurationByteCount)
    writable = bytes
    let identity = facts.identity
    put(UInt32(identity.vendorID) | UInt32(identity.deviceID) << 16, at: 0x00)
    // Memory decoding is on, as the kernel leaves it when a driver opens the function.
    put(UInt32(Self.memorySpace), at: Self.command, writable: 0x0547)
    put(identity.classCode << 8 | UInt32(identity.revision), at: 0x08)
    put(0, at: 0x0c, writable: 0xff)  // cache line size
    put(UInt32(identity.subsystemVendorID) | UInt32(identity.subsystemID) << 16, at: 0x2c)
    put(UInt32(facts.interruptPin) << 8, at: 0x3c, writable: 0xff)  // interrupt line
    putBARs(facts.bars)
    for capability in facts.capabilities { put(capability) }
    if !facts.capabilities.isEmpty { bytes[0x06] |= 1 << 4 }  // status: there is a list of capabilities
  }

  private mutating func put(_ value: UInt32, at byteOffset: Int, writable mask: UInt32 = 0) {
    for index in 0..<4 {
      bytes[byteOffset + index] = UInt8(truncatingIfNeeded: value >> UInt32(8 * index))
      writable[byteOffset + index] = UInt8(truncatingIfNeeded: mask >> UInt32(8 * index))
    }
  }

  private mutating func putBARs(_ bars: [DeviceBAR]) {
    var memory: UInt64 = 0xe000_0000
    var ports: UInt64 = 0xc000
    for bar in bars {
      let length = UInt64(bar.byteCount)
      let place = 0x10 + 4 * bar.index
      let sizeMask = ~(length - 1)
      switch bar.kind {
      case .ports:
        ports = (ports + length - 1) & sizeMask
        put(
          UInt32(truncatingIfNeeded: ports) | 1, at: place,
          writable: UInt32(truncatingIfNeeded: sizeMask & ~3))
        ports += length
      case .memory32, .memory64:
        memory = (memory + length - 1) & sizeMask
        let type: UInt32 = bar.kind == .memory64 ? 4 : 0
        put(
          UInt32(truncatingIfNeeded: memory) | type, at: place,
          writable: UInt32(truncatingIfNeeded: sizeMask & ~15))
        if bar.kind == .memory64 {
          put(
            UInt32(truncatingIfNeeded: memory >> 32), at: place + 4,
            writable: UInt32(truncatingIfNeeded: sizeMask >> 32))
        }
        memory += length
      }
    }
  }

  /// Appends a capability: its identification, its 16 bits next to the pointer, and its length in bytes.
  private mutating func append(
    _ identification: UInt8, control: UInt16, writable: UInt16 = 0, byteCount: Int
  ) -> Int {
    let place = nextCapability
    precondition(place + byteCount <= 0x100, "the capabilities fit the first 256 bytes")
    bytes[lastPointer] = UInt8(place)
    lastPointer = place + 1
    nextCapability = (place + byteCount + 3) & ~3
    put(UInt32(identification) | UInt32(control) << 16, at: place, writable: UInt32(writable) << 16)
    return place
  }

  private mutating func put(_ capability: DeviceCapability) {
    switch capability {
    case .powerManagement:
      let place = append(0x01, control: 0x0003, byteCount: 8)
      put(0x0008, at: place + 4, writable: 0x0003)  // no soft reset; the power state can be changed
    case .msi(let count):
      precondition(count.nonzeroBitCount == 1 && count <= 32, "MSI has a power of two of vectors up to 32")
      let control = UInt16(count.trailingZeroBitCount) << 1 | 1 << 7
      let place = append(0x05, control: control, writable: 0x0071, byteCount: 14)
      put(0, at: place + 4, writable: ~3)
      put(0, at: place + 8, writable: ~0)
      put(0, at: place + 12, writable: 0xffff)
      messageControls[.msi] = (place + 2, 1)
    case .msix(let count, let tableBAR, let tableOffset, let pendingBAR, let pendingOffset):
      precondition((1...2048).contains(count), "MSI-X has up to 2048 vectors")
      precondition((tableOffset | pendingOffset) & 7 == 0, "the tables lie at multiples of 8 bytes")
      let place = append(0x11, control: UInt16(count - 1), writable: 0xc000, byteCount: 12)
      put(UInt32(tableOffset | tableBAR), at: place + 4)
      put(UInt32(pendingOffset | pendingBAR), at: place + 8)
      messageControls[.msix] = (place + 2, 1 << 15)
    case .pciExpress:
      let place = append(0x10, control: 0x0002, byteCount: 60)
      put(1 << 28 | 1 << 15, at: place + 4)  // function level reset; role-based errors
      put(0, at: place + 8, writable: 0x70ff)  // device control, without the reset bit
    }
  }

  func load(at byteOffset: Int, byteWidth: Int) -> UInt32 {
    (0..<byteWidth).reduce(0) { $0 | UInt32(bytes[byteOffset + $1]) << UInt32(8 * $1) }
  }

  /// Writes as software does: only bits that can be changed change.
  mutating func store(_ value: UInt32, at byteOffset: Int, byteWidth: Int) {
    for index in 0..<byteWidth {
      let (place, byte) = (byteOffset + index, UInt8(truncatingIfNeeded: value >> UInt32(8 * index)))
      bytes[place] = bytes[place] & ~writable[place] | byte & writable[place]
    }
  }

  var commandRegister: UInt16 {
    get { UInt16(load(at: Self.command, byteWidth: 2)) }
    set { store(UInt32(newValue), at: Self.command, byteWidth: 2) }
  }
}
