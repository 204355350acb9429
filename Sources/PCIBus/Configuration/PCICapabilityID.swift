// SPDX-License-Identifier: Apache-2.0
internal import CLibPCI

/// What a capability is: its number, and which of the two lists the number belongs to.
///
/// Source: the constants `PCI_CAP_ID_*` and `PCI_EXT_CAP_ID_*` of libpci's header.h; PCI Code and ID Assignment
/// Specification.
public struct PCICapabilityID: Hashable, Sendable {
  /// The number, 8 bits in the first list and 16 in the second.
  public let number: UInt16
  /// Whether it belongs to the list from byte 256 on.
  public let isExtended: Bool

  /// A capability of the first 256 bytes.
  public static func standard(_ number: UInt8) -> PCICapabilityID {
    PCICapabilityID(number: UInt16(number), isExtended: false)
  }

  /// A capability from byte 256 on.
  public static func extended(_ number: UInt16) -> PCICapabilityID {
    PCICapabilityID(number: number, isExtended: true)
  }

  /// Power Management.
  public static let powerManagement = standard(UInt8(PCI_CAP_ID_PM))
  /// Accelerated Graphics Port.
  public static let agp = standard(UInt8(PCI_CAP_ID_AGP))
  /// Vital Product Data.
  public static let vitalProductData = standard(UInt8(PCI_CAP_ID_VPD))
  /// Slot Identification.
  public static let slotIdentification = standard(UInt8(PCI_CAP_ID_SLOTID))
  /// MSI.
  public static let msi = standard(UInt8(PCI_CAP_ID_MSI))
  /// CompactPCI Hot Swap.
  public static let compactPCIHotSwap = standard(UInt8(PCI_CAP_ID_CHSWP))
  /// PCI-X.
  public static let pciX = standard(UInt8(PCI_CAP_ID_PCIX))
  /// HyperTransport.
  public static let hyperTransport = standard(UInt8(PCI_CAP_ID_HT))
  /// Vendor Specific.
  public static let vendorSpecific = standard(UInt8(PCI_CAP_ID_VNDR))
  /// Debug Port.
  public static let debugPort = standard(UInt8(PCI_CAP_ID_DBG))
  /// CompactPCI Resource Control.
  public static let compactPCIResourceControl = standard(UInt8(PCI_CAP_ID_CCRC))
  /// PCI Hot-Plug.
  public static let hotPlug = standard(UInt8(PCI_CAP_ID_HOTPLUG))
  /// Bridge Subsystem ID.
  public static let bridgeSubsystemID = standard(UInt8(PCI_CAP_ID_SSVID))
  /// AGP 8x.
  public static let agp8x = standard(UInt8(PCI_CAP_ID_AGP3))
  /// Secure Device.
  public static let secureDevice = standard(UInt8(PCI_CAP_ID_SECURE))
  /// PCI Express.
  public static let express = standard(UInt8(PCI_CAP_ID_EXP))
  /// MSI-X.
  public static let msix = standard(UInt8(PCI_CAP_ID_MSIX))
  /// SATA Configuration.
  public static let sata = standard(UInt8(PCI_CAP_ID_SATA))
  /// Advanced Features.
  public static let advancedFeatures = standard(UInt8(PCI_CAP_ID_AF))
  /// Enhanced Allocation.
  public static let enhancedAllocation = standard(UInt8(PCI_CAP_ID_EA))

  /// Advanced Error Reporting.
  public static let advancedErrorReporting = extended(UInt16(PCI_EXT_CAP_ID_AER))
  /// Virtual Channel.
  public static let virtualChannel = extended(UInt16(PCI_EXT_CAP_ID_VC))
  /// Device Serial Number.
  public static let deviceSerialNumber = extended(UInt16(PCI_EXT_CAP_ID_DSN))
  /// Power Budgeting.
  public static let powerBudgeting = extended(UInt16(PCI_EXT_CAP_ID_PB))
  /// Root Complex Link Declaration.
  public static let rootComplexLink = extended(UInt16(PCI_EXT_CAP_ID_RCLINK))
  /// Root Complex Internal Link Control.
  public static let rootComplexInternalLink = extended(UInt16(PCI_EXT_CAP_ID_RCILINK))
  /// Root Complex Event Collector.
  public static let rootComplexEventCollector = extended(UInt16(PCI_EXT_CAP_ID_RCEC))
  /// Multi-Function Virtual Channel.
  public static let multiFunctionVirtualChannel = extended(UInt16(PCI_EXT_CAP_ID_MFVC))
  /// Virtual Channel (MFVC).
  public static let virtualChannel2 = extended(UInt16(PCI_EXT_CAP_ID_VC2))
  /// Root Complex Register Block.
  public static let rootComplexRegisterBlock = extended(UInt16(PCI_EXT_CAP_ID_RCRB))
  /// Vendor Specific.
  public static let extendedVendorSpecific = extended(UInt16(PCI_EXT_CAP_ID_VNDR))
  /// Access Control Services.
  public static let accessControlServices = extended(UInt16(PCI_EXT_CAP_ID_ACS))
  /// Alternative Routing-ID.
  public static let alternativeRoutingID = extended(UInt16(PCI_EXT_CAP_ID_ARI))
  /// Address Translation Service.
  public static let addressTranslation = extended(UInt16(PCI_EXT_CAP_ID_ATS))
  /// Single Root I/O Virtualization.
  public static let sriov = extended(UInt16(PCI_EXT_CAP_ID_SRIOV))
  /// Multi-Root I/O Virtualization.
  public static let multiRootIOV = extended(UInt16(PCI_EXT_CAP_ID_MRIOV))
  /// Multicast.
  public static let multicast = extended(UInt16(PCI_EXT_CAP_ID_MCAST))
  /// Page Request Interface.
  public static let pageRequest = extended(UInt16(PCI_EXT_CAP_ID_PRI))
  /// Resizable BAR.
  public static let resizableBAR = extended(UInt16(PCI_EXT_CAP_ID_REBAR))
  /// Dynamic Power Allocation.
  public static let dynamicPowerAllocation = extended(UInt16(PCI_EXT_CAP_ID_DPA))
  /// TLP Processing Hints.
  public static let processingHints = extended(UInt16(PCI_EXT_CAP_ID_TPH))
  /// Latency Tolerance Reporting.
  public static let latencyTolerance = extended(UInt16(PCI_EXT_CAP_ID_LTR))
  /// Secondary PCI Express.
  public static let secondaryExpress = extended(UInt16(PCI_EXT_CAP_ID_SECPCI))
  /// Protocol Multiplexing.
  public static let protocolMultiplexing = extended(UInt16(PCI_EXT_CAP_ID_PMUX))
  /// Process Address Space ID.
  public static let pasid = extended(UInt16(PCI_EXT_CAP_ID_PASID))
  /// LN Requester.
  public static let lnRequester = extended(UInt16(PCI_EXT_CAP_ID_LNR))
  /// Downstream Port Containment.
  public static let downstreamPortContainment = extended(UInt16(PCI_EXT_CAP_ID_DPC))
  /// L1 PM Substates.
  public static let l1PowerSubstates = extended(UInt16(PCI_EXT_CAP_ID_L1PM))
  /// Precision Time Measurement.
  public static let precisionTime = extended(UInt16(PCI_EXT_CAP_ID_PTM))
  /// PCI Express over M-PHY.
  public static let expressOverMPHY = extended(UInt16(PCI_EXT_CAP_ID_M_PCIE))
  /// FRS Queueing.
  public static let frsQueueing = extended(UInt16(PCI_EXT_CAP_ID_FRS))
  /// Readiness Time Reporting.
  public static let readinessTime = extended(UInt16(PCI_EXT_CAP_ID_RTR))
  /// Designated Vendor-Specific.
  public static let designatedVendorSpecific = extended(UInt16(PCI_EXT_CAP_ID_DVSEC))
  /// VF Resizable BAR.
  public static let virtualFunctionResizableBAR = extended(UInt16(PCI_EXT_CAP_ID_VF_REBAR))
  /// Data Link Feature.
  public static let dataLinkFeature = extended(UInt16(PCI_EXT_CAP_ID_DLNK))
  /// Physical Layer 16.0 GT/s.
  public static let physicalLayer16GT = extended(UInt16(PCI_EXT_CAP_ID_16GT))
  /// Lane Margining.
  public static let laneMargining = extended(UInt16(PCI_EXT_CAP_ID_LMR))
  /// Hierarchy ID.
  public static let hierarchyID = extended(UInt16(PCI_EXT_CAP_ID_HIER_ID))
  /// Native PCIe Enclosure Management.
  public static let nativeEnclosure = extended(UInt16(PCI_EXT_CAP_ID_NPEM))
  /// Data Object Exchange.
  public static let dataObjectExchange = extended(UInt16(PCI_EXT_CAP_ID_DOE))
}

extension PCICapabilityID: CustomStringConvertible {
  /// The name, or the number in hexadecimal where it has none: `MSI-X`, `extended 0x002f`.
  public var description: String {
    if let name { return name }
    let digits = String(number, radix: 16)
    let zeros = String(repeating: "0", count: (isExtended ? 4 : 2) - digits.count)
    return "\(isExtended ? "extended" : "capability") 0x\(zeros)\(digits)"
  }

  /// The name; nil for a number that this table does not know.
  public var name: String? {
    isExtended ? Self.extendedNames[CInt(number)] : Self.standardNames[CInt(number)]
  }

  private static let standardNames: [CInt: String] = [
    PCI_CAP_ID_PM: "Power Management",
    PCI_CAP_ID_AGP: "Accelerated Graphics Port",
    PCI_CAP_ID_VPD: "Vital Product Data",
    PCI_CAP_ID_SLOTID: "Slot Identification",
    PCI_CAP_ID_MSI: "MSI",
    PCI_CAP_ID_CHSWP: "CompactPCI Hot Swap",
    PCI_CAP_ID_PCIX: "PCI-X",
    PCI_CAP_ID_HT: "HyperTransport",
    PCI_CAP_ID_VNDR: "Vendor Specific",
    PCI_CAP_ID_DBG: "Debug Port",
    PCI_CAP_ID_CCRC: "CompactPCI Resource Control",
    PCI_CAP_ID_HOTPLUG: "PCI Hot-Plug",
    PCI_CAP_ID_SSVID: "Bridge Subsystem ID",
    PCI_CAP_ID_AGP3: "AGP 8x",
    PCI_CAP_ID_SECURE: "Secure Device",
    PCI_CAP_ID_EXP: "PCI Express",
    PCI_CAP_ID_MSIX: "MSI-X",
    PCI_CAP_ID_SATA: "SATA Configuration",
    PCI_CAP_ID_AF: "Advanced Features",
    PCI_CAP_ID_EA: "Enhanced Allocation",
  ]

  private static let extendedNames: [CInt: String] = [
    PCI_EXT_CAP_ID_AER: "Advanced Error Reporting",
    PCI_EXT_CAP_ID_VC: "Virtual Channel",
    PCI_EXT_CAP_ID_DSN: "Device Serial Number",
    PCI_EXT_CAP_ID_PB: "Power Budgeting",
    PCI_EXT_CAP_ID_RCLINK: "Root Complex Link Declaration",
    PCI_EXT_CAP_ID_RCILINK: "Root Complex Internal Link Control",
    PCI_EXT_CAP_ID_RCEC: "Root Complex Event Collector",
    PCI_EXT_CAP_ID_MFVC: "Multi-Function Virtual Channel",
    PCI_EXT_CAP_ID_VC2: "Virtual Channel (MFVC)",
    PCI_EXT_CAP_ID_RCRB: "Root Complex Register Block",
    PCI_EXT_CAP_ID_VNDR: "Vendor Specific",
    PCI_EXT_CAP_ID_ACS: "Access Control Services",
    PCI_EXT_CAP_ID_ARI: "Alternative Routing-ID",
    PCI_EXT_CAP_ID_ATS: "Address Translation Service",
    PCI_EXT_CAP_ID_SRIOV: "Single Root I/O Virtualization",
    PCI_EXT_CAP_ID_MRIOV: "Multi-Root I/O Virtualization",
    PCI_EXT_CAP_ID_MCAST: "Multicast",
    PCI_EXT_CAP_ID_PRI: "Page Request Interface",
    PCI_EXT_CAP_ID_REBAR: "Resizable BAR",
    PCI_EXT_CAP_ID_DPA: "Dynamic Power Allocation",
    PCI_EXT_CAP_ID_TPH: "TLP Processing Hints",
    PCI_EXT_CAP_ID_LTR: "Latency Tolerance Reporting",
    PCI_EXT_CAP_ID_SECPCI: "Secondary PCI Express",
    PCI_EXT_CAP_ID_PMUX: "Protocol Multiplexing",
    PCI_EXT_CAP_ID_PASID: "Process Address Space ID",
    PCI_EXT_CAP_ID_LNR: "LN Requester",
    PCI_EXT_CAP_ID_DPC: "Downstream Port Containment",
    PCI_EXT_CAP_ID_L1PM: "L1 PM Substates",
    PCI_EXT_CAP_ID_PTM: "Precision Time Measurement",
    PCI_EXT_CAP_ID_M_PCIE: "PCI Express over M-PHY",
    PCI_EXT_CAP_ID_FRS: "FRS Queueing",
    PCI_EXT_CAP_ID_RTR: "Readiness Time Reporting",
    PCI_EXT_CAP_ID_DVSEC: "Designated Vendor-Specific",
    PCI_EXT_CAP_ID_VF_REBAR: "VF Resizable BAR",
    PCI_EXT_CAP_ID_DLNK: "Data Link Feature",
    PCI_EXT_CAP_ID_16GT: "Physical Layer 16.0 GT/s",
    PCI_EXT_CAP_ID_LMR: "Lane Margining",
    PCI_EXT_CAP_ID_HIER_ID: "Hierarchy ID",
    PCI_EXT_CAP_ID_NPEM: "Native PCIe Enclosure Management",
    PCI_EXT_CAP_ID_DOE: "Data Object Exchange",
  ]
}
