// SPDX-License-Identifier: Apache-2.0
import CLinuxABI
import LinuxHandles
import PCIBus
import SystemPackage
import TestSupport
import Testing

extension DeviceTests {
  /// The cases of the kernel's own test of binding (tools/testing/selftests/vfio, vfio_iommufd_setup_test), by the
  /// calls themselves: this library's order of them leaves no way to get them wrong.
  @Suite struct AcceptanceSetupTests {
    private let device: CInt
    private let iommufd: CInt
    private let owners: Owners

    private final class Owners: Sendable {
      let device: OwnedDescriptor
      let iommufd: OwnedDescriptor
      init(_ path: String) throws {
        device = try OwnedDescriptor.open(path, for: .readWrite)
        iommufd = try OwnedDescriptor.open("/dev/iommu", for: .readWrite)
      }
    }

    init() throws {
      try LabFunction.lend(LabFunction.edu)
      let name = try #require(PCIBus().function(at: LabFunction.edu).vfioDeviceName)
      owners = try Owners("/dev/vfio/devices/\(name)")
      (device, iommufd) = (owners.device.rawValue, owners.iommufd.rawValue)
    }

    private func bind(_ iommufd: CInt) -> CInt {
      var command = abi_vfio_device_bind_iommufd()
      command.iommufd = iommufd
      return unsafe abi_vfio_device_bind_iommufd(device, &command)
    }

    private func getInfo() -> CInt {
      var info = abi_vfio_device_info()
      return unsafe abi_vfio_device_get_info(device, &info, UInt32(MemoryLayout<abi_vfio_device_info>.size))
    }

    private func attach(_ id: UInt32) -> CInt {
      var command = abi_vfio_device_attach_iommufd_pt()
      command.pt_id = id
      return unsafe abi_vfio_device_attach_iommufd_pt(device, &command)
    }

    @Test func boundDevicesTellOfThemselves() {
      #expect(bind(iommufd) == 0 && getInfo() == 0)
    }

    @Test func unboundDevicesDoNot() {
      #expect(getInfo() == -Errno.invalidArgument.rawValue)
    }

    @Test func aBadIommufdIsRefused() {
      #expect(bind(-2) == -Errno.invalidArgument.rawValue)
    }

    @Test func aSecondBindIsRefused() {
      #expect(bind(iommufd) == 0)
      #expect(bind(iommufd) == -Errno.invalidArgument.rawValue)
    }

    @Test func anIOASIsAttachedAndDetached() {
      #expect(bind(iommufd) == 0)
      var alloc = abi_iommu_ioas_alloc()
      #expect(unsafe abi_iommu_ioas_alloc(iommufd, &alloc) == 0)
      #expect(attach(alloc.out_ioas_id) == 0)
      var detach = abi_vfio_device_detach_iommufd_pt()
      #expect(unsafe abi_vfio_device_detach_iommufd_pt(device, &detach) == 0)
    }

    @Test func anUnknownPageTableIsRefused() {
      #expect(bind(iommufd) == 0)
      #expect(attach(.max) == -Errno.noSuchFileOrDirectory.rawValue)
    }
  }
}
