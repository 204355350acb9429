// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

/// What a region beyond the nine that every PCI function has is for.
///
/// The kernel names such a region by a pair of numbers: a type, which is a vendor's or one for all vendors, and a
/// subtype within it.
/// - Source: `struct vfio_region_info_cap_type`, include/uapi/linux/vfio.h, Linux 4.6.
public struct VFIORegionType: Hashable, Sendable {
  /// The type: a vendor's with bit 31 set, else one for all vendors.
  public let type: UInt32
  /// The subtype within the type.
  public let subtype: UInt32

  /// Names a kind of region by the kernel's numbers.
  public init(type: UInt32, subtype: UInt32) {
    self.type = type
    self.subtype = subtype
  }

  /// Names a vendor's kind of region.
  public init(vendorID: UInt16, subtype: UInt32) {
    self.init(type: Self.vendorBit | UInt32(vendorID), subtype: subtype)
  }

  private static let vendorBit = UInt32(bitPattern: ABI_VFIO_REGION_TYPE_PCI_VENDOR_TYPE)

  /// The PCI vendor that the type belongs to; nil for a type of all vendors.
  public var vendorID: UInt16? {
    type & Self.vendorBit == 0 ? nil : UInt16(type & ABI_VFIO_REGION_TYPE_PCI_VENDOR_MASK)
  }

  /// The OpRegion of Intel's graphics: tables of the firmware, read-only.
  public static let intelGraphicsOpRegion = VFIORegionType(
    vendorID: 0x8086, subtype: ABI_VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION)
  /// The configuration space of the host bridge that Intel's graphics looks at, read-only.
  public static let intelGraphicsHostBridge = VFIORegionType(
    vendorID: 0x8086, subtype: ABI_VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG)
  /// The configuration space of the ISA bridge that Intel's graphics looks at, read-only.
  public static let intelGraphicsISABridge = VFIORegionType(
    vendorID: 0x8086, subtype: ABI_VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG)
  /// The EDID of a display, which user space may set.
  public static let displayEDID = VFIORegionType(
    type: ABI_VFIO_REGION_TYPE_GFX, subtype: ABI_VFIO_REGION_SUBTYPE_GFX_EDID)
}

extension VFIORegionType: CustomStringConvertible {
  /// `vendor 8086, subtype 1`, or `type 1, subtype 1`.
  public var description: String {
    guard let vendorID else { return "type \(type), subtype \(subtype)" }
    let digits = String(vendorID, radix: 16)
    return "vendor \(String(repeating: "0", count: 4 - digits.count))\(digits), subtype \(subtype)"
  }
}
