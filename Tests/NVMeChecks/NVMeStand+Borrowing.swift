// SPDX-License-Identifier: Apache-2.0
import DMACore
import DriverCore
import NVMeDriver
import Testing

extension NVMeStand {
  /// Some of an array's bytes, wherever they lie in their pages; those beside them stay as they are.
  func moveBorrowedMemory() throws {
    var queue = try controller.makeQueuePair(depth: 3)
    let length = 256 << 10
    let whole = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }
    for byteOffset in [0, 4, 512, 4092, 5000] {
      for byteCount in [blockByteCount, 8192, 12 << 10, 160 << 10] {
        let part = byteOffset..<(byteOffset + byteCount)
        // SAFETY: the bytes of an array of bytes are initialised.
        try queue.write(namespace, at: 24, from: unsafe whole.span.extracting(part).bytes)
        let before = [UInt8](repeating: 0x55, count: length)
        var target = before
        try read(&queue, at: 24, into: &target, part)
        #expect(target[part] == whole[part], "\(byteCount) bytes at \(byteOffset)")
        target.replaceSubrange(part, with: before[part])
        #expect(target == before, "beside \(byteCount) bytes at \(byteOffset)")
      }
    }
  }

  private func read(
    _ queue: inout NVMeQueuePair, at block: UInt64, into bytes: inout [UInt8], _ part: Range<Int>
  ) throws(NVMeError) {
    var span = bytes.mutableSpan
    var elements = span._mutatingExtracting(part)
    var raw = unsafe elements.mutableBytes  // SAFETY: any byte is a UInt8
    try queue.read(namespace, at: block, into: &raw)
  }

  func refuseOtherBorrowedMemory() throws {
    var queue = try controller.makeQueuePair(depth: 3)
    var bytes = [UInt8](repeating: 0, count: 4 * blockByteCount)
    // An array of bytes begins at a multiple of 16.
    for (byteOffset, byteCount, code) in [
      (1, blockByteCount, DriverError.Code.misaligned), (2, blockByteCount, .misaligned),
      (0, blockByteCount - 1, .misaligned), (4, blockByteCount + 4, .misaligned), (0, 0, .outOfRange),
    ] {
      let error = failure { () throws(NVMeError) in
        try read(&queue, at: 0, into: &bytes, byteOffset..<(byteOffset + byteCount))
      }
      #expect(error?.code == code && error?.command == .read, "\(byteCount) bytes at \(byteOffset)")
    }
    let error = failure { () throws(NVMeError) in
      try read(&queue, at: namespace.blockCount - 1, into: &bytes, 0..<(2 * blockByteCount))
    }
    #expect(error?.code == .outOfRange)
    try read(&queue, at: namespace.blockCount - 1, into: &bytes, 0..<blockByteCount)
  }
}
