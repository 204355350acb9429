// SPDX-License-Identifier: Apache-2.0
import CMockIOMMU
import IOMMUFD
import Testing

/// A command of iommufd, and how long the kernel has it.
struct CommandLength: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let number: UInt32
  /// The length that the kernel asks for at least, and the one that it knows.
  let minimum, byteCount: Int

  init(_ name: String, number: UInt32, minimum: Int, byteCount: Int) {
    testDescription = name
    self.number = number
    self.minimum = minimum
    self.byteCount = byteCount
  }

  /// Makes the call with a structure of zeros that claims a length, and ends in `tail` where that is more than the kernel
  /// knows.
  func answer(claiming size: Int, tail: UInt8 = 0, in context: IOMMUFDContext) -> CInt {
    var bytes = [UInt8](repeating: 0, count: max(byteCount, size) + 8)
    unsafe withUnsafeBytes(of: UInt32(size)) { for index in 0..<4 { unsafe bytes[index] = $0[index] } }
    if size > byteCount { bytes[size - 1] = tail }
    return unsafe bytes.withUnsafeMutableBytes {
      unsafe cmock_command(context.descriptor, number, $0.baseAddress)
    }
  }
}
