// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import LinuxHandles
import PCIBus
import SystemPackage
import Testing
import VFIO

extension ManyFunctionTests {
  /// The ports that every VGA display has.
  @Suite struct DisplayTests {
    /// Index and data of the sequencer.
    private static let index = 0x3c4
    private static let data = 0x3c5

    @Test(arguments: LabFunction.modes)
    func itsRegistersAreReachedThroughTheVGARegion(_ mode: VFIOMode) throws {
      // The console would be on it, if this machine's were not on a serial line.
      if try !PCIBus().function(at: ManyFunction.display).isBoundToVFIO {
        try DriverBinding().bind([ManyFunction.display], force: true)
      }
      let device = try VFIODevice.open(ManyFunction.display, mode: mode)
      let found = device.region(.vga)
      let region = try #require(found)
      #expect(region.byteCount == 0xc0000 && region.isReadable && region.isWritable)
      let window = try device.mapRegion(.vga)
      #expect(window.byteCount == 0xc0000 && window.mappedByteCount == 0)
      // The map mask, which planes are written to.
      window.store(UInt8(2), at: Self.index)
      #expect(window.load(UInt8.self, at: Self.index) == 2)
      for planes: UInt8 in [0x05, 0x0f] {
        window.store(planes, at: Self.data)
        #expect(window.load(UInt8.self, at: Self.data) == planes)
      }
      #expect(window.takeFault() == nil)
      // Only the ports and the memory of a display are the region's.
      #expect(window.load(UInt8.self, at: 0x100) == .max)
      #expect(window.takeFault()?.errno == .invalidArgument)
    }
  }
}
