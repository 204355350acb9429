// SPDX-License-Identifier: Apache-2.0
import PCIBus
import Testing

@Suite struct PCIAddressTests {
  @Test(
    arguments: [
      ("0000:00:02.0", 0, 0, 2, 0), ("00:02.0", 0, 0, 2, 0), ("ffff:ff:1f.7", 0xffff, 0xff, 0x1f, 7),
      ("10000:01:00.0", 0x10000, 1, 0, 0), ("FFFFFFFF:AB:0C.1", 0xffff_ffff, 0xab, 0x0c, 1),
    ] as [(String, UInt32, UInt8, UInt8, UInt8)])
  func reads(_ text: String, domain: UInt32, bus: UInt8, device: UInt8, function: UInt8) {
    #expect(PCIAddress(text) == PCIAddress(domain: domain, bus: bus, device: device, function: function))
  }

  @Test(arguments: [
    "", ":", ".", "0000:00:02", "0000:00:02.", "0000:00:02.8", "0000:00:20.0", "0000:00:2.0", "0000:0:02.0",
    "000:00:02.0", "100000000:00:02.0", "0000:00:02.0 ", " 0000:00:02.0", "0000:00:02.0.0", "0:0000:00:02.0",
    "0000:000:02.0", "0000:+1:02.0", "-000:00:02.0", "0000:00:02.00", "0000:0g:02.0", "0000:00:0２.0",
    "00.02.0",
    "0000:00:02:0", "::.", "0000::02.0",
  ])
  func refuses(_ text: String) { #expect(PCIAddress(text) == nil) }

  @Test(arguments: ["0000:00:02.0", "10000:01:00.0", "ffffffff:ff:1f.7", "0abc:0d:0e.3"])
  func writesAsLinuxDoes(_ text: String) { #expect(PCIAddress(text)?.description == text) }

  @Test func sortsAsABusIsScanned() {
    let sorted = ["0000:00:02.0", "0000:00:02.1", "0000:00:0a.0", "0000:01:00.0", "10000:00:00.0"]
    #expect(sorted.reversed().compactMap { PCIAddress($0) }.sorted().map(\.description) == sorted)
  }

  @Test func partsHaveLimits() {
    #expect(PCIAddress(bus: 0, device: 32, function: 0) == nil)
    #expect(PCIAddress(bus: 0, device: 0, function: 8) == nil)
  }
}
