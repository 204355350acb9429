// SPDX-License-Identifier: Apache-2.0
internal import PCIBus

/// A function as `--json` prints it.
///
/// Its keys are an interface: they are added to, never renamed.
struct FunctionRecord: Encodable {
  struct BAR: Encodable {
    let index: Int
    let kind: String
    let byteCount: UInt64
    let prefetchable: Bool
  }

  let address: String
  let vendorID: String
  let deviceID: String
  let subsystem: String
  let classCode: String
  let revision: Int
  let vendorName: String?
  let deviceName: String?
  let className: String?
  let driver: String?
  let driverOverride: String?
  let iommuGroup: Int?
  let numaNode: Int?
  let vfioDevice: String?
  let bars: [BAR]
  let sriovTotal: Int?
  let sriovEnabled: Int?
  let physicalFunction: String?
  let virtualFunctions: [String]
  let isBootVGA: Bool

  init(_ function: PCIFunctionInfo, names: PCINameDatabase) {
    let found = names.names(of: function)
    address = function.address.description
    vendorID = function.vendorID.hexadecimal
    deviceID = function.deviceID.hexadecimal
    subsystem = "\(function.subsystemVendorID.hexadecimal):\(function.subsystemDeviceID.hexadecimal)"
    classCode = function.classCode.description
    revision = Int(function.revision)
    vendorName = found.vendor
    deviceName = found.device
    className = found.classCode
    driver = function.driver
    driverOverride = function.driverOverride
    iommuGroup = function.iommuGroup
    numaNode = function.numaNode
    vfioDevice = function.vfioDeviceName
    bars = function.bars.map {
      BAR(
        index: $0.index.rawValue, kind: "\($0.kind)", byteCount: $0.byteCount, prefetchable: $0.isPrefetchable
      )
    }
    sriovTotal = function.virtualFunctionCounts?.total
    sriovEnabled = function.virtualFunctionCounts?.enabled
    physicalFunction = function.physicalFunction?.description
    virtualFunctions = function.virtualFunctions.map(\.description)
    isBootVGA = function.isBootVGA
  }
}
