// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import PCIBus

/// Reads a PCI address from the command line.
func parseAddress(_ text: String) throws -> PCIAddress {
  guard let address = PCIAddress(text) else {
    throw ValidationError(
      "'\(text)' is not a PCI address; write DOMAIN:BUS:DEVICE.FUNCTION in hexadecimal, as 0000:00:02.0 or 00:02.0"
    )
  }
  return address
}

extension UInt16 {
  /// Four hexadecimal digits, as in `pci.ids`.
  var hexadecimal: String { padded(String(self, radix: 16), to: 4) }
}

private func padded(_ text: String, to count: Int) -> String {
  String(repeating: "0", count: max(0, count - text.count)) + text
}
