import SwiftVFIO

@main
struct ReadBAR {
  static func main() throws {
    guard let address = CommandLine.arguments.dropFirst().first.flatMap({ PCIAddress($0) }) else {
      return print("usage: ReadBAR 0000:00:02.0")
    }
    let device = try VFIODevice.open(address)  // iommufd where there is one, else group and container
    let registers = try device.mapBAR(.bar0)
    let identification = Register32(byteOffset: 0, access: .readOnly)
    print("\(address): 0x\(String(registers.read(identification), radix: 16))")
  }
}
