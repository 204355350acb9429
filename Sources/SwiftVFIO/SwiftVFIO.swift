// SPDX-License-Identifier: Apache-2.0
// One import for the author of a driver that runs on real devices.
@_exported public import DMACore
@_exported public import DeviceRegisters
@_exported public import DriverCore
@_exported public import IOMMUFD
@_exported public import LinuxHandles
@_exported public import PCIBus
@_exported public import SoftwareIOTLB
@_exported public import VFIO
